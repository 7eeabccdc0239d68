"""The methods of a comparison, from their names and settings."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from hubtune.errors import ConfigurationError, unknown_name
from hubtune.training.method import Method
from hubtune.workflow.methods import method_named

BUILT_ON = (("base", "base_config"), ("teacher", "teacher_config"))
"""Fields that name a method another one is built on, and the fields that hold its fields."""


def contestants(specs: Sequence[str], settings: Mapping[str, str]) -> dict[str, Method]:
    """Methods by label, from what a command line says.

    Args:
        specs: method names, or LABEL=NAME, so that one method can stand in several rows.
        settings: values by FIELD, for every method that has it, or by LABEL.FIELD. What is set for a method holds for its trainings
            inside other methods too, such as the fine-tunings of an ensemble.

    Raises:
        UnknownNameError: a method, a label or a field that is not known.
        ConfigurationError: a label given twice, or values that cannot work.
    """
    names = dict((label, name or label) for label, _, name in (spec.strip().partition("=") for spec in specs if spec.strip()))
    given = [spec.partition("=")[0].strip() for spec in specs if spec.strip()]
    twice = [label for label, times in Counter(given).items() if times > 1]
    if twice:
        raise ConfigurationError(f"the method {twice[0]!r} is given twice; expected different ones, or labels: a={twice[0]},b={twice[0]}")
    fields = {label: _fields(name) for label, name in names.items()}
    inner = {label: _inner(label, fields[label], settings) for label in names}
    fields |= {name: _fields(name) for found in inner.values() for name in found.values() if name not in fields}
    common, own = _sorted_out(settings, fields)
    configs = {label: {k: v for k, v in common.items() if k in fields[label]} | own[label] for label in names}
    for label, config in configs.items():
        config |= {field: _inside(name, common, own) for field, name in inner[label].items() if field not in config}
    return {label: method_named(names[label], config) for label, config in configs.items()}


def labelled(methods: Sequence[str | Method] | Mapping[str, str | Method]) -> dict[str, Method]:
    """Methods by label: their names, and where several share one, the fields by which they differ.

    Raises:
        ConfigurationError: there are none, or two that are the same.
    """
    if isinstance(methods, Mapping):
        found = {label: method_named(method) if isinstance(method, str) else method for label, method in methods.items()}
    else:
        made = [method_named(method) if isinstance(method, str) else method for method in methods]
        found = {_label(method, [other for other in made if other.name == method.name]): method for method in made}
        if len(found) < len(made):
            raise ConfigurationError(f"{len(made)} methods were given, some of them twice; expected different ones: {', '.join(found)}")
    if not found:
        raise ConfigurationError("no methods were given; expected at least one, such as fine-tune")
    return found


def _fields(name: str) -> dict[str, Any]:
    """A method's fields with their defaults."""
    method = method_named(name)
    return {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}


def _inner(label: str, fields: Mapping[str, Any], settings: Mapping[str, str]) -> dict[str, str]:
    """The methods that a method is built on, by the field that holds their fields."""
    found = {inside: (what, fields[what]) for what, inside in BUILT_ON if what in fields and inside in fields}
    return {inside: settings.get(f"{label}.{what}", settings.get(what, default)) for inside, (what, default) in found.items()}


def _sorted_out(settings: Mapping[str, str], fields: dict[str, dict[str, Any]]) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """What is set for all methods, and what for each label or method inside others."""
    common: dict[str, str] = {}
    own: dict[str, dict[str, Any]] = {name: {} for name in fields}
    for key, value in settings.items():
        label, _, field = key.rpartition(".")
        if label and label not in fields:
            raise unknown_name("method of this comparison", label, fields)
        known = fields[label] if label else {name for each in fields.values() for name in each}
        if field not in known:
            raise unknown_name(f"field of {label or 'these methods'}", field, known)
        (own[label] if label else common)[field] = value
    return common, own


def _inside(name: str, common: dict[str, str], own: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The fields of a method that another one is built on, as JSON values."""
    config = {k: v for k, v in common.items() if k in _fields(name)} | own.get(name, {})
    return {field: value for field, value in method_named(name, config).config().items() if field in config}


def _label(method: Method, namesakes: Sequence[Method]) -> str:
    configs = [other.config() for other in namesakes]
    differing = [field for field, value in method.config().items() if any(config.get(field) != value for config in configs)]
    return " ".join([method.name, *(f"{field}={method.config()[field]}" for field in differing)])
