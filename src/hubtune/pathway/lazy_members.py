"""Models of a routed hub that are in memory only while they are in use."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from hubtune.errors import RunError
from hubtune.training.predictor import Single

MEMBERS = "members."
"""What the names of the models' weights begin with in a saved hub; the model's place follows."""


class Shelf:
    """The models of a saved hub, of which at most so many are in memory.

    Where one must make room, it is the one that has seen the fewest images so far. Every batch goes through the models in the same
    order: dropping the one unused for longest would load every model anew for each batch.
    """

    def __init__(self, specs: Sequence[dict[str, Any]], file: Path, most: int):
        """
        Args:
            specs: of the m models, as ``Single.spec`` gives them.
            file: the safetensors of the whole hub.
            most: models in memory at once.
        """
        self.specs = specs
        self._file = file
        self._most = most
        self._resident: dict[int, Single] = {}
        self._seen = [0] * len(specs)

    @property
    def resident(self) -> tuple[int, ...]:
        """Places of the models in memory."""
        return tuple(self._resident)

    def take(self, place: int, images: int) -> Single:
        """A model, loaded where it is not in memory.

        Args:
            images: how many are about to pass through it.

        Raises:
            RunError: its weights cannot be read.
        """
        self._seen[place] += images
        if place not in self._resident:
            while len(self._resident) >= self._most:
                del self._resident[min(self._resident, key=lambda i: self._seen[i])]
            self._resident[place] = self._load(place)
        return self._resident[place]

    def _load(self, place: int) -> Single:
        prefix = f"{MEMBERS}{place}."
        with torch.random.fork_rng(devices=[]):
            member = Single.from_spec(self.specs[place])
        with _weights(self._file) as weights:
            names = [name for name in weights.keys() if name.startswith(prefix)]  # noqa: SIM118
            member.load_state_dict({name.removeprefix(prefix): weights.get_tensor(name) for name in names})
        return member.eval()


class LazyMember(nn.Module):
    """Stands in a routed hub for a model on the shelf; has no weights of its own, and is for prediction only."""

    def __init__(self, shelf: Shelf, place: int):
        super().__init__()
        self._shelf = shelf
        self._place = place

    def forward(self, canvas: Tensor) -> Tensor:
        return self._shelf.take(self._place, len(canvas))(canvas)

    def spec(self) -> dict[str, Any]:
        return self._shelf.specs[self._place]


def read_without(file: Path, prefix: str) -> dict[str, Tensor]:
    """The tensors of a file whose names do not begin with ``prefix``; the others are not read.

    Raises:
        RunError: the file cannot be read.
    """
    with _weights(file) as weights:
        return {name: weights.get_tensor(name) for name in weights.keys() if not name.startswith(prefix)}  # noqa: SIM118


@contextlib.contextmanager
def _weights(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, framework="pt") as weights:
            yield weights
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunError(f"the weights in {file.parent} cannot be loaded ({error}); run the command that made them again") from error
