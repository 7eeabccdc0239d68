"""The strategies by name."""

import contextlib
import dataclasses
import importlib
import json
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from hubtune.errors import ConfigurationError, UnknownNameError, unknown_name
from hubtune.proxies import PROXIES
from hubtune.selection.halving import FewSteps, SuccessiveHalving
from hubtune.selection.mean_rank import MeanRank
from hubtune.selection.meta_learned import MetaLearned
from hubtune.selection.paper_strategies import IMAGENET, ByProxy, Hybrid, Random, Scores, Strategy, TaskAgnostic
from hubtune.tasks import Classification, Task

__all__ = [
    "AUTO",
    "IMAGENET",
    "STRATEGIES",
    "ByProxy",
    "Hybrid",
    "Random",
    "Scores",
    "Strategy",
    "TaskAgnostic",
    "strategy_for",
    "strategy_named",
]

STRATEGIES: dict[str, Strategy] = {
    "task-agnostic": TaskAgnostic(),
    "random": Random(),
    "successive-halving": SuccessiveHalving(),
    "few-steps": FewSteps(),
    "meta-learned": MetaLearned(),
    "mean-rank": MeanRank(),
    **{proxy: ByProxy(proxy) for proxy in PROXIES},
    **{f"hybrid-{proxy}": Hybrid(proxy) for proxy in PROXIES},
}
_CONFIGURED = (SuccessiveHalving, FewSteps, MetaLearned, MeanRank)
AUTO = "auto"
"""The strategy that goes with the task."""
FOR_CLASSES, FOR_THE_REST = "hybrid-linear", "few-steps"


def strategy_for(task: Task, strategy: str | Strategy) -> Strategy:
    """A strategy as it is, or by its name, "auto" included.

    Raises:
        UnknownNameError: no such strategy.
    """
    if strategy == AUTO:
        strategy = FOR_CLASSES if task.kind == Classification.kind else FOR_THE_REST
    return strategy_named(strategy) if isinstance(strategy, str) else strategy


def strategy_named(name: str, config: Mapping[str, Any] | None = None) -> Strategy:
    """A strategy by its name: ``linear``, ``hybrid-logme``, ``meta-learned``, ..., or ``my.module:Thing``, a strategy or a class of them.

    Args:
        config: fields of the strategy that are not to have their defaults; strings are read as the field's type.

    Raises:
        UnknownNameError: no such strategy or field; the message names the nearest.
        ConfigurationError: a value that cannot work.
    """
    strategy = _imported(name) if ":" in name else STRATEGIES.get(name)
    if strategy is None:
        raise unknown_name("strategy", name, STRATEGIES, "hubtune strategies")
    if not config:
        return strategy
    fields = settable(name)
    for field in config:
        if field not in fields:
            raise unknown_name(f"field of strategy {name}", field, fields)
    hints = typing.get_type_hints(type(strategy))
    values = {field: _read(value, hints[field], f"{name}: {field}") for field, value in config.items()}
    return dataclasses.replace(strategy, **values)  # pyright: ignore[reportArgumentType, reportReturnType]


def settable(name: str) -> list[str]:
    """The fields of a strategy that may have other values than their defaults."""
    strategy = strategy_named(name)
    own = isinstance(strategy, _CONFIGURED) or (":" in name and dataclasses.is_dataclass(strategy))
    return [field.name for field in dataclasses.fields(strategy) if field.name != "name"] if own else []  # pyright: ignore[reportArgumentType]


def _imported(name: str) -> Strategy:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownNameError(f"strategy {name!r} cannot be imported: {error}; expected 'package.module:attribute'") from error
    try:
        made = found() if isinstance(found, type) else found
    except TypeError as error:
        raise UnknownNameError(
            f"strategy {name!r} cannot be made without arguments: {error}; give its fields defaults, or name an instance"
        ) from error
    if not (hasattr(made, "proxies") and hasattr(made, "rank") and hasattr(made, "name")):
        raise UnknownNameError(f"strategy {name!r} is a {type(made).__name__} without name, proxies and rank; see docs/extending.md")
    return made


def _read(value: Any, hint: Any, what: str) -> Any:
    """A value of a field's type; of a string the number or the comma-separated values that it writes."""
    if isinstance(value, str) and typing.get_origin(hint) is tuple:
        value = [part.strip() for part in value.strip("()[]").split(",") if part.strip() and part.strip() != "none"]
    elif isinstance(value, str) and hint is not str:
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    try:
        return TypeAdapter(hint).validate_python(value)
    except ValidationError as error:
        raise ConfigurationError(f"{what} = {value!r}: {error.errors(include_url=False)[0]['msg']}") from error
