"""What checks the shapes that annotations state, in the tests only."""

from collections.abc import Callable

from beartype import BeartypeConf, beartype

_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""An int is a float, as Python's typing has it."""


def check(function: Callable) -> Callable:
    """The function, its arguments and its result checked where its annotations name shapes; elsewhere as it is."""
    shaped = any("jaxtyping." in repr(hint) for hint in getattr(function, "__annotations__", {}).values())
    return _checked(function) if shaped else function
