"""What a policy scores, and what that looks like."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from hubtune.rl.acting import Stack, best_actions
from hubtune.rl.distribution import support
from hubtune.rl.settings import DataEfficientRainbow
from hubtune.rl.world import MakeWorld, World
from hubtune.training.predictor import Predictor
from hubtune.training.seeds import derive

MOST_PICTURES = 400
"""Of a video."""


@dataclass(frozen=True)
class Episode:
    """One game."""

    score: float
    steps: int
    """Agent steps."""
    cut: bool
    """Whether a limit of time ended it."""
    pictures: tuple[UInt8[np.ndarray, "H W 3"], ...] = ()


class _Game:
    def __init__(self, world: World, seed: int, settings: DataEfficientRainbow, filmed: bool):
        self.world = world
        self.stack = Stack(settings.history, world.reset(derive(seed, "game")))
        self._chance = np.random.default_rng(derive(seed, "actions"))
        self._epsilon = settings.evaluation_epsilon
        self._longest = settings.evaluation_frames / settings.frame_skip
        self.score, self.steps = 0.0, 0
        self.over = self.cut = False
        self._film = Film() if filmed else None

    def step(self, action: int) -> None:
        if self._chance.random() < self._epsilon:
            action = int(self._chance.integers(len(self.world.actions)))
        if self._film is not None:
            self._film.add(self.world.picture())
        outcome = self.world.step(action)
        self.stack.add(outcome.frame)
        self.score += outcome.reward
        self.steps += 1
        self.cut = outcome.cut or (self.steps >= self._longest and not outcome.over)
        self.over = outcome.over or self.cut

    def episode(self) -> Episode:
        return Episode(self.score, self.steps, self.cut, () if self._film is None else self._film.pictures)


class Film:
    """Every picture of a game, or every second, fourth, ... of a long one, so that there are never more than ``MOST_PICTURES``."""

    def __init__(self) -> None:
        self._pictures: list[np.ndarray] = []
        self._every, self._seen = 1, 0

    def add(self, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        if self._seen % self._every == 0:
            if len(self._pictures) == MOST_PICTURES:
                self._pictures = self._pictures[::2]
                self._every *= 2
            if self._seen % self._every == 0:
                self._pictures.append(np.array(picture))
        self._seen += 1

    @property
    def pictures(self) -> tuple[UInt8[np.ndarray, "H W 3"], ...]:
        return tuple(self._pictures)


def evaluate(
    policy: Predictor,
    make_world: MakeWorld,
    settings: DataEfficientRainbow,
    *,
    episodes: int,
    seed: int,
    device: torch.device,
    filmed: bool = False,
) -> list[Episode]:
    """Play games side by side: one forward pass of the policy for all that are not over. There is no noise; rarely an action is random.

    Each game's chances are its own, so that it does not matter which others are played beside it.

    Args:
        filmed: keep pictures of the first game.
    """
    atoms = support(settings.atoms, settings.lowest_return, settings.highest_return).to(device)
    training = policy.training
    policy.eval()
    games = [_Game(make_world(), derive(seed, "episode", i), settings, filmed and i == 0) for i in range(episodes)]
    while running := [game for game in games if not game.over]:
        actions = best_actions(policy, np.stack([game.stack.frames for game in running]), atoms)
        for game, action in zip(running, actions, strict=True):
            game.step(action)
    for game in games:
        game.world.close()
    policy.train(training)
    return [game.episode() for game in games]


def write_video(pictures: tuple[UInt8[np.ndarray, "H W 3"], ...], path: Path, milliseconds: int = 66) -> None:
    """Write pictures as an animation that any browser shows.

    Args:
        milliseconds: that each is shown.
    """
    first, *others = [Image.fromarray(picture).quantize(64, dither=Image.Dither.NONE) for picture in pictures]
    first.save(path, save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=False, format="GIF")
