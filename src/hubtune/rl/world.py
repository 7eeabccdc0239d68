"""What an agent plays in: a game of grey frames, of which everything follows from a seed and the actions."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from hubtune.errors import ConfigurationError, UnknownNameError
from hubtune.rl.settings import DataEfficientRainbow


@dataclass(frozen=True)
class Outcome:
    """What came of one action."""

    frame: UInt8[np.ndarray, "s s"]
    reward: float
    """As the game counts it, not clipped."""
    over: bool
    """The game has ended by its own rules."""
    cut: bool = False
    """The game was ended by a limit of time."""
    died: bool = False
    """A life was lost, whether or not the game goes on."""


class World(Protocol):
    """A game. After equal seeds and equal actions it is in equal states: that is how an interrupted training finds its way back."""

    name: str
    actions: tuple[str, ...]
    """What each action is called."""

    def reset(self, seed: int) -> UInt8[np.ndarray, "s s"]:
        """Begin a new game, and return its first frame."""
        ...

    def step(self, action: int) -> Outcome:
        """Do an action."""
        ...

    def picture(self) -> UInt8[np.ndarray, "H W 3"]:
        """What a person would see now, in colours."""
        ...

    def close(self) -> None: ...


MakeWorld = Callable[[], World]
"""Makes a world of its own each time."""


def world_named(game: str, settings: DataEfficientRainbow) -> MakeWorld:
    """What makes worlds of a game.

    Args:
        game: an Atari game such as "Gopher", or "my.module:World", a class of one's own that is made with the settings.

    Raises:
        UnknownNameError: no such game; the nearest names are given.
        MissingExtraError: the games are not installed.
        ConfigurationError: the class cannot be imported.
    """
    if _is_own(game):
        module, _, name = game.partition(":")
        try:
            make = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            raise UnknownNameError(f"no world {game!r}: {error}; expected the name of an Atari game, or my.module:World") from error
        if not callable(make):
            raise ConfigurationError(f"{game} is a {type(make).__name__}; expected a class that makes a world from settings")
        return lambda: make(settings)  # pyright: ignore[reportReturnType]
    from hubtune.rl.atari import AtariWorld

    found = full_name(game)
    return lambda: AtariWorld(found, settings)


def full_name(game: str) -> str:
    """A game as records call it: ALE/Gopher-v5 and gopher are Gopher; a class of one's own is as it was written.

    Raises:
        UnknownNameError: no such game; the nearest names are given.
        MissingExtraError: the games are not installed.
    """
    if _is_own(game):
        return game
    from hubtune.rl.atari import game_named

    return game_named(game)


def _is_own(game: str) -> bool:
    """Whether it names a class, as my.module:World."""
    module, _, name = game.partition(":")
    return bool(name) and module != "ALE"
