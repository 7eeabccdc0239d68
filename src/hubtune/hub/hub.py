"""A hub: an immutable, ordered set of pre-trained models, known by their cards until one is loaded."""

import hashlib
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hubtune.errors import ConfigurationError, HubTuneError, ModelError, unknown_name
from hubtune.hub.backbone import Backbone
from hubtune.hub.card import ModelCard
from hubtune.hub.query import select
from hubtune.runs import cache_folder, temporary_beside

FINGERPRINTS_VERSION = 2


@dataclass(frozen=True)
class Entry:
    """A card, and how to load what it describes."""

    card: ModelCard
    load: Callable[[ModelCard, int | None], Backbone]
    """From the card and an input size (None: the card's own) to a fresh backbone. Can be pickled, so that workers can load too."""
    local: bool = False
    """Whether the weights are on this machine although the card knows no hash of their file."""


class Hub:
    """An immutable, ordered set of models with distinct names; every operation returns another hub.

    Iteration yields cards; ``hub["name"]`` is a card; ``"name" in hub`` asks for a name.

    Args:
        entries: the models.
        notes: what the user should know, such as files that could not be read.

    Raises:
        ConfigurationError: two models of one name.
    """

    def __init__(self, entries: Iterable[Entry] = (), notes: Iterable[str] = ()):
        self._entries: dict[str, Entry] = {}
        self.notes: tuple[str, ...] = tuple(dict.fromkeys(notes))
        for entry in entries:
            name = entry.card.name
            if name in self._entries:
                first = self._entries[name].card.source
                raise ConfigurationError(
                    f"two models are called {name!r}, from {first} and {entry.card.source}; expected distinct names: "
                    "rename a file or folder, or leave one out with where()"
                )
            self._entries[name] = entry

    @staticmethod
    def open(spec: str | Path | Sequence[str | Path]) -> "Hub":
        """The models of a source.

        Args:
            spec: "demo", a folder, "timm", "timm:PATTERN", "torchvision", "hf:ORG/NAME", "paper:homogeneous",
                "paper:heterogeneous", "my.module:function" (called with the text after a second colon; returns a Hub),
                or several of these, as a list or joined by "+".

        Raises:
            UnknownNameError: no such source, and no such folder.
            ModelError: a source without models.
            ConfigurationError: models of one name from several sources.
        """
        from hubtune.hub.sources import open_source

        return open_source(spec)

    @property
    def names(self) -> tuple[str, ...]:
        """In order."""
        return tuple(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[ModelCard]:
        return (entry.card for entry in self._entries.values())

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __getitem__(self, name: str) -> ModelCard:
        return self._entry(name).card

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, Hub) else NotImplemented

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        names = ", ".join(self.names[:8]) + (", ..." if len(self) > 8 else "")
        return f"Hub({len(self)} models: {names})"

    def _entry(self, name: str) -> Entry:
        if name not in self._entries:
            raise unknown_name("model", str(name), self._entries, "hubtune models --hub ...")
        return self._entries[name]

    def where(self, condition: str) -> "Hub":
        """The models for which a SQL condition over the card's fields is true, such as ``"params < 5e6 and license = 'mit'"``.

        ``pool:ResNet-50`` and the other names of `hubtune.hub.pools` stand for the pools of the model search paper.

        Raises:
            ConfigurationError: anything but one such condition.
            UnknownNameError: no such pool.
        """
        return self.subset(select(list(self), condition))

    def subset(self, names: Iterable[str]) -> "Hub":
        """The named models, in the order given.

        Raises:
            UnknownNameError: a name that is not in the hub.
            ConfigurationError: a name given twice.
        """
        return Hub((self._entry(name) for name in names), self.notes)

    def __or__(self, other: "Hub") -> "Hub":
        """Both hubs' models, this one's first; a model with the same card in both is kept once.

        Raises:
            ConfigurationError: different models of one name.
        """
        if not isinstance(other, Hub):
            return NotImplemented
        new = [entry for name, entry in other._entries.items() if name not in self._entries or entry.card != self._entries[name].card]
        return Hub([*self._entries.values(), *new], self.notes + other.notes)

    def add(self, module: nn.Module, card: ModelCard | Mapping[str, Any], **options: Any) -> "Hub":
        """This hub and a network of one's own; see `hubtune.hub.module.module_entry` for the options.

        The network is copied: what happens to it later does not change the hub.

        Args:
            module: any network from float (B, 3, s, s) to (B, D) or (B, C, H, W).
            card: its facts; of a dictionary with at least ``name`` and ``input_size``, the rest is found out.
        """
        from hubtune.hub.module import module_entry

        return Hub([*self._entries.values(), module_entry(module, card, **options)], self.notes)

    def load(self, name: str, input_size: int | None = None) -> Backbone:
        """A fresh copy of a model: evaluation mode, on the CPU, float32.

        Weights that the files leave open are drawn from a fixed seed; torch's global generator is left as it was.

        Args:
            input_size: side in pixels, where another one than the card's is wanted.

        Raises:
            UnknownNameError: a name that is not in the hub.
            ModelError: the model cannot be loaded; the message names it, the cause, and what to do.
        """
        entry = self._entry(name)
        if input_size is not None and (isinstance(input_size, bool) or not isinstance(input_size, int) or input_size < 1):
            raise ConfigurationError(
                f"input_size = {input_size!r} was given, expected a number of pixels >= 1, or None for the model's own"
            )
        try:
            with torch.random.fork_rng(devices=[]), torch.device("cpu"):
                torch.default_generator.manual_seed(0)  # the CPU's alone: torch.manual_seed would reset the others too
                backbone = entry.load(entry.card, input_size)
        except Exception as error:
            cause = str(error) if isinstance(error, HubTuneError) else f"{type(error).__name__}: {error}; leave the model out with where()"
            raise ModelError(f"model {name!r} from {entry.card.source} cannot be loaded: {cause}") from error
        return backbone.float().requires_grad_(True).eval()

    def fingerprint(self, name: str, input_size: int | None = None) -> str:
        """``load(name, input_size).fingerprint``, remembered on disk where the card knows its weight file's hash.

        Raises:
            UnknownNameError: a name that is not in the hub.
            ModelError: the model cannot be loaded.
        """
        entry = self._entry(name)
        if entry.card.sha256 is None:
            return self.load(name, input_size).fingerprint
        key = hashlib.sha256(pickle.dumps((FINGERPRINTS_VERSION, entry.load, entry.card, input_size))).hexdigest()
        memo = cache_folder() / "fingerprints" / key
        try:
            known = memo.read_text()
        except OSError:
            known = ""
        if len(known) != 64:
            known = self.load(name, input_size).fingerprint
            memo.parent.mkdir(parents=True, exist_ok=True)
            temporary = temporary_beside(memo)
            temporary.write_text(known)
            os.replace(temporary, memo)
        return known

    def download_bytes(self, name: str) -> int:
        """What loading a model would download, at four bytes a parameter; 0 where its weights are on this machine."""
        card = self[name]
        return 0 if card.sha256 is not None or self._entry(name).local else 4 * card.params
