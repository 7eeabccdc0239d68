"""A method is its configuration; a cell is one leaf of work that a method asks for."""

import dataclasses
import hashlib
import json
import textwrap
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hubtune.errors import ConfigurationError, unknown_name
from hubtune.hub import Backbone, Hub
from hubtune.tasks import Task
from hubtune.training.learner import Learner
from hubtune.training.runtime import Runtime

PROTOCOL_VERSION = 1
"""Part of every cell's hash: raised when a change of the code changes what the same configuration computes."""

_adapters: dict[type, dict[str, TypeAdapter]] = {}


def _field_adapters(cls: type) -> dict[str, TypeAdapter]:
    if cls not in _adapters:
        hints = typing.get_type_hints(cls, include_extras=True)
        config = ConfigDict(arbitrary_types_allowed=True)
        _adapters[cls] = {f.name: _adapter(hints[f.name], config) for f in dataclasses.fields(cls)}
    return _adapters[cls]


def _adapter(hint: Any, config: ConfigDict) -> TypeAdapter:
    return TypeAdapter(hint) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else TypeAdapter(hint, config=config)


@dataclass(frozen=True, kw_only=True)
class Method:
    """How knowledge is transferred. Abstract; the fields of a subclass are its whole configuration.

    Every field is checked when the method is made, and all mistakes are reported at once.
    """

    name: ClassVar[str]
    """The name in the table of methods."""
    takes_many: ClassVar[bool] = False
    """Whether one training process takes the whole hub, rather than one model of it."""

    def __post_init__(self) -> None:
        mistakes = []
        for name, adapter in _field_adapters(type(self)).items():
            try:
                object.__setattr__(self, name, adapter.validate_python(getattr(self, name)))
            except ValidationError as error:
                details = "; or ".join(dict.fromkeys(e["msg"] for e in error.errors(include_url=False)))
                mistakes.append(f"{name} = {textwrap.shorten(repr(getattr(self, name)), 200)}: {details.removeprefix('Value error, ')}")
        mistakes += self.mistakes() if not mistakes else []
        if mistakes:
            raise ConfigurationError(f"{self.name} cannot be configured so:\n  " + "\n  ".join(mistakes))

    def mistakes(self) -> list[str]:
        """What is wrong with fields that are each right alone."""
        return []

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Make a method from names and values, such as those of ``--set``; strings are read as the field's type.

        Raises:
            UnknownNameError: a name that is not a field.
            ConfigurationError: values that cannot work.
        """
        fields = {f.name for f in dataclasses.fields(cls)}
        for name in config:
            if name not in fields:
                raise unknown_name(f"field of {cls.name}", name, fields)
        hints = typing.get_type_hints(cls, include_extras=True)
        return cls(**{name: _read(value, hints[name]) for name, value in config.items()})

    def config(self) -> dict[str, Any]:
        """The fields as JSON values; ``from_config`` takes them back."""
        return {name: adapter.dump_python(getattr(self, name), mode="json") for name, adapter in _field_adapters(type(self)).items()}

    def variants(self, task: Task) -> list["Method"]:
        """The trainings among which the best by validation is kept."""
        return [self]

    def needs(self, models: tuple[str, ...], task: Task) -> list["Need"]:
        """What must be finished before this method can start."""
        return []

    def check(self, hub: Hub, task: Task) -> None:
        """Refuse models or a task that it cannot work with, before anything is trained for it; by default nothing is refused.

        Args:
            hub: of the models that it is given, none of them loaded.

        Raises:
            HubTuneError: why it cannot.
        """

    def learner(self, backbones: list[Backbone], task: Task, results: "list[Result]", setting: "Setting") -> Learner:
        """The training process.

        Args:
            backbones: freshly loaded, the method's own to change.
            task: what is to be learnt.
            results: one for each of ``needs``, in that order; failed optional ones are left out.
            setting: the seed of everything that is drawn, and what the arithmetic is done on.
        """
        raise NotImplementedError


def _read(value: Any, hint: Any) -> Any:
    """A string from a command line, read as JSON where the field is no string; comma-separated values make a tuple."""
    if not isinstance(value, str):
        return value
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    choices = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    choices = tuple(typing.get_args(choice)[0] if typing.get_origin(choice) is typing.Annotated else choice for choice in choices)
    if any(value in typing.get_args(choice) for choice in choices if typing.get_origin(choice) is Literal):
        return value
    if any(typing.get_origin(choice) is tuple for choice in choices):
        return tuple(_read_one(part) for part in value.strip("[]()").split(",") if part.strip())
    return _read_one(value)


def _read_one(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"true": True, "false": False, "none": None}.get(text.strip().lower(), text.strip())


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a learner is made with besides models and task."""

    seed: int
    """Decides everything that is drawn when the learner is made."""
    canvas_size: int | None
    """Side in pixels of the batches' images; None is the task's native size."""
    runtime: Runtime


@dataclass(frozen=True, kw_only=True)
class Need:
    """A method on some models whose result another method is built on."""

    method: str
    """Its name; the methods of another room are known by name only."""
    config: dict[str, Any] = field(default_factory=dict)
    """Its fields, where they are not the defaults."""
    models: tuple[str, ...]
    optional: bool = False
    """Whether the other method can do without, should this one fail: it then gets one result less."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One leaf of work: what is trained, from which weights, on which images, with which seed. Its hash names its record."""

    method: Method
    models: tuple[str, ...]
    """Names in the hub, in the order the method takes them."""
    fingerprints: tuple[str, ...]
    """What each model computes: weights, preprocessing, input size."""
    input_size: int | None
    """Largest side in pixels that a model sees; None is no limit."""
    task: str
    """The task's fingerprint."""
    seed: int
    precision: str = "no"
    """Mixed precision: "no" or "bf16"."""
    needs: tuple["Cell", ...] = field(default=())

    @property
    def id(self) -> str:
        """16 hexadecimal digits of the SHA-256 of everything the result depends on."""
        key = {
            "method": self.method.name,
            "config": self.method.config(),
            "models": self.fingerprints,
            "task": self.task,
            "seed": self.seed,
            "precision": self.precision,
            "needs": [need.id for need in self.needs],
            "protocol": PROTOCOL_VERSION,
        }
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished cell."""

    cell: Cell
    folder: Path
    """Holds record.json, model/ and predictions.npz."""
    record: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        return self.record["metrics"]
