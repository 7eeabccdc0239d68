"""Every error a user can cause. A message says what was given, what was expected and what to do."""

import difflib
from collections.abc import Iterable, Set

NEAREST = 3
"""Names that an error suggests, at most."""
SHOWN = 20
"""Known names that an error lists."""


class HubTuneError(Exception):
    """The base of all errors that HubTune raises on purpose; the command line prints its text and exits with code 2."""


class ConfigurationError(HubTuneError):
    """A field, an option or an argument has a value that cannot work; the message lists all such mistakes at once."""


class UnknownNameError(HubTuneError):
    """A name that is not in a table of names."""


class DataError(HubTuneError):
    """The labelled data cannot be used as they are."""


class ModelError(HubTuneError):
    """A model cannot be found, loaded or run."""


class SearchError(HubTuneError):
    """No answer to a search: nothing in the hub could be scored."""


class TrainingError(HubTuneError):
    """A training process cannot go on."""


class EngineError(HubTuneError):
    """Workers that jobs are handed to cannot be had, or are lost."""


class RunError(HubTuneError):
    """A run's folder cannot be written or read."""


class MissingExtraError(HubTuneError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str):
        super().__init__(f"{package} is not installed; it comes with an extra: pip install 'hubtune[{extra}]'")


def of_model(error: Exception) -> HubTuneError:
    """An error that one model ended in, whatever it was: the others go on. Whoever tells of it names the model."""
    if isinstance(error, HubTuneError):
        return error
    reason = (str(error).splitlines() or ["no reason given"])[0]
    found = ModelError(f"{type(error).__name__}: {reason}; leave the model out by --where or --models if it stays so")
    found.__cause__ = error
    return found


def unknown_name(kind: str, name: str, known: Iterable[str], listed_by: str | None = None) -> UnknownNameError:
    """An error that names the nearest known names first: those that begin with what was given, then those spelt alike.

    Args:
        kind: what the name stands for, such as "strategy".
        name: the name as given.
        known: every name that would have worked; where it has an order, those that are likelier meant first.
        listed_by: the command that lists all of them, if there is one.
    """
    known = sorted(known) if isinstance(known, Set) else list(known)
    if not known and kind.startswith("field of "):
        return UnknownNameError(f"unknown {kind} {name!r}: it has no fields; leave {name} out")
    begun = [each for each in known if name and each.startswith(name)]
    near = list(dict.fromkeys([*begun, *difflib.get_close_matches(name, known, n=NEAREST)]))[:NEAREST]
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    names = sorted(known)
    cut = len(names) - SHOWN if len(names) > SHOWN + 1 else 0  # "and 1 more" is no shorter than the name
    shown = ", ".join(names[: len(names) - cut]) + (f", and {cut} more" if cut else "")
    return UnknownNameError(
        f"unknown {kind} {name!r}: {hint}known: {shown or 'none'}" + (f"; `{listed_by}` lists all" if listed_by else "")
    )
