"""What there is to choose from: methods and strategies in the words of their own docstrings."""

import ast
import dataclasses
import inspect
import textwrap
import types
import typing
from itertools import pairwise
from typing import Any, Literal, get_args, get_origin

from hubtune.errors import unknown_name
from hubtune.proxies import PROXIES
from hubtune.rl import METHODS as POLICY_METHODS
from hubtune.selection import STRATEGIES, strategy_named
from hubtune.selection.strategies import AUTO, FOR_CLASSES, FOR_THE_REST, settable
from hubtune.workflow.methods import METHODS, method_class


@dataclasses.dataclass(frozen=True)
class Described:
    """A method or a strategy."""

    name: str
    about: str
    """What it does, in one line."""
    details: str = ""
    """The rest of its docstring, as written."""
    fields: tuple["Field", ...] = ()


@dataclasses.dataclass(frozen=True)
class Field:
    """What can be set of it."""

    name: str
    type: str
    """Such as "auto | float", or the values it may have."""
    default: Any
    about: str


def describe_methods() -> list[Described]:
    """All methods of the table, in its order."""
    return [describe_method(name) for name in METHODS]


def describe_method(name: str) -> Described:
    """A method by its name or ``my.module:Class``.

    Raises:
        UnknownNameError, ConfigurationError: as ``method_named``.
    """
    return _described(name, method_class(name))


def describe_strategies() -> list[Described]:
    """The default and all strategies; those that are a proxy say what its number means."""
    return [describe_strategy(name) for name in (AUTO, *STRATEGIES)]


def describe_strategy(name: str) -> Described:
    """A strategy by its name, "auto" or ``my.module:Thing``.

    Raises:
        UnknownNameError: there is none.
    """
    if name == AUTO:
        return Described(AUTO, f"The default: {FOR_CLASSES} for classes, {FOR_THE_REST} for whatever else is predicted.")
    found, proxy = _described(name, type(strategy_named(name))), name.removeprefix("hybrid-")
    if proxy in PROXIES:
        meaning = f"{PROXIES[proxy].meaning[0].upper()}{PROXIES[proxy].meaning[1:]}."
        return Described(name, meaning if proxy == name else f"One pick by upstream accuracy, the others by {proxy}.")
    names = settable(name)
    return dataclasses.replace(found, fields=tuple(field for field in found.fields if field.name in names))


def describe_policy_methods() -> list[Described]:
    """All methods for policies, in their table's order."""
    return [describe_policy_method(name) for name in POLICY_METHODS]


def describe_policy_method(name: str) -> Described:
    """A method for policies by its name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in POLICY_METHODS:
        raise unknown_name("method", name, POLICY_METHODS, "hubtune rl methods")
    return _described(name, POLICY_METHODS[name])


def _described(name: str, cls: type) -> Described:
    about, _, details = inspect.cleandoc(cls.__doc__ or "").partition("\n")
    docs, hints = field_docs(cls), typing.get_type_hints(cls, include_extras=True)
    own_first = sorted(dataclasses.fields(cls), key=lambda field: _distance(cls, field.name)) if dataclasses.is_dataclass(cls) else []
    fields = (Field(f.name, readable(hints[f.name]), _default(f), docs.get(f.name, "")) for f in own_first if f.name != "name")
    return Described(name, about, details.strip(), tuple(fields))


def _distance(cls: type, field: str) -> int:
    """How many bases up a field was declared last."""
    return next(place for place, base in enumerate(cls.__mro__) if field in vars(base).get("__annotations__", {}))


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def field_docs(cls: type) -> dict[str, str]:
    """The docstrings under the fields of a class and its bases; the nearest class wins. Empty for what has no source."""
    found = {}
    for base in reversed(cls.__mro__):
        try:
            [tree] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError):
            continue
        for field, text in pairwise(getattr(tree, "body", [])):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(about))):
                    found[name] = " ".join(about.split())
    return found


def readable(hint: Any) -> str:
    """A type as a person would write it: the values it may have, or what kind of value."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        return readable(inner[0])
    if origin is Literal:
        return " | ".join(map(str, inner))
    if origin in (typing.Union, types.UnionType):
        return " | ".join(dict.fromkeys(readable(each) for each in inner))
    if origin is tuple:
        return f"{readable(inner[0]).removesuffix(', ...')}, ..."
    return {type(None): "none", str: "text", int: "whole number", float: "number", bool: "true | false"}.get(hint, "JSON")
