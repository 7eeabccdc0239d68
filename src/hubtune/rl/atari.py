"""Atari games as worlds, by gymnasium and ale-py."""

import importlib
import re
from typing import Any, final

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hubtune.errors import MissingExtraError, unknown_name
from hubtune.rl.settings import DataEfficientRainbow
from hubtune.rl.world import Outcome

VERSION = "v5"


@final
class AtariWorld:
    """A game of which every action lasts some screens, seen as the maximum of the last two, grey and small.

    A game begins after a random number of no-ops, which the seed decides. Losing a life does not begin a new one. The screens are
    averaged over areas when they are made smaller.

    Source: Mnih et al. (2015), Human-level control through deep reinforcement learning, methods; Machado et al. (2018) for sticky actions.
    Differs from the source: no FIRE is pressed on the agent's behalf.
    """

    def __init__(self, game: str, settings: DataEfficientRainbow):
        """
        Args:
            game: as ``game_named`` returns it.
        """
        gymnasium = _import_gymnasium()
        self.name = game
        self._settings = settings
        self._environment = gymnasium.make(
            f"ALE/{game}-{VERSION}",
            frameskip=1,
            repeat_action_probability=settings.sticky_actions,
            full_action_space=False,
            obs_type="grayscale",
            max_num_frames_per_episode=settings.episode_frames + settings.no_ops + settings.frame_skip,
            disable_env_checker=True,
        ).unwrapped
        self._ale = self._environment.ale
        self.actions: tuple[str, ...] = tuple(self._environment.get_action_meanings())
        self._frames = 0
        self._lives = 0

    def reset(self, seed: int) -> UInt8[np.ndarray, "s s"]:
        screen, info = self._environment.reset(seed=seed % 2**31)
        self._frames = 0
        for _ in range(int(np.random.default_rng(seed).integers(0, self._settings.no_ops + 1))):
            screen, _, over, _, info = self._environment.step(0)
            if over:
                screen, info = self._environment.reset()
        self._lives = info["lives"]
        return self._small(screen)

    def step(self, action: int) -> Outcome:
        reward, over, screens = 0.0, False, []
        for _ in range(self._settings.frame_skip):
            screen, gained, over, _, info = self._environment.step(action)
            self._frames += 1
            screens = [*screens[-1:], screen]
            reward += float(gained)
            if over:
                break
        lives = info["lives"]  # pyright: ignore[reportPossiblyUnboundVariable]
        died, self._lives = lives < self._lives, lives
        cut = not over and self._frames >= self._settings.episode_frames
        return Outcome(self._small(np.maximum(screens[0], screens[-1])), reward, over, cut, died)

    def picture(self) -> UInt8[np.ndarray, "H W 3"]:
        return self._ale.getScreenRGB()

    def close(self) -> None:
        self._environment.close()

    def _small(self, screen: UInt8[np.ndarray, "H W"]) -> UInt8[np.ndarray, "s s"]:
        side = self._settings.frame_size
        return np.asarray(Image.fromarray(screen).resize((side, side), Image.Resampling.BOX))


def game_named(name: str) -> str:
    """A game's name as the emulator's environments write it; ALE/Gopher-v5, gopher and Gopher are the same.

    Raises:
        UnknownNameError: no such game; the nearest names are given.
        MissingExtraError: the games are not installed.
    """
    known = games()
    short = re.sub(r"^ALE[/:]|-v\d+$", "", name)
    by_letters = {game.lower(): game for game in known}
    found = by_letters.get(re.sub(r"[\W_]", "", short).lower())
    if found is None:
        raise unknown_name("game", short, known)
    return found


def games() -> tuple[str, ...]:
    """The names of all games that are installed.

    Raises:
        MissingExtraError: none are.
    """
    gymnasium = _import_gymnasium()
    pattern = re.compile(rf"ALE/(\w+)-{VERSION}")
    return tuple(sorted(match[1] for name in gymnasium.registry if (match := pattern.fullmatch(name))))


def _import_gymnasium() -> Any:
    try:
        emulator, gymnasium = importlib.import_module("ale_py"), importlib.import_module("gymnasium")
    except ImportError as error:
        raise MissingExtraError(error.name or "gymnasium", "rl") from error
    emulator.ALEInterface.setLoggerMode(emulator.LoggerMode.Error)
    if not any(name.startswith("ALE/") for name in gymnasium.registry):
        gymnasium.register_envs(emulator)
    return gymnasium
