"""Every error a user can cause. A message says what was given, what was expected and what to do."""

import difflib
from collections.abc import Iterable


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


def of_model(name: str, error: Exception) -> HubTuneError:
    """An error that one model ended in, whatever it was: the others go on."""
    if isinstance(error, HubTuneError):
        return error
    reason = (str(error).splitlines() or ["no reason given"])[0]
    found = ModelError(f"{name}: {type(error).__name__}: {reason}; leave the model out by --where or --models if it stays so")
    found.__cause__ = error
    return found


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error that names the nearest known names first.

    Args:
        kind: what the name stands for, such as "strategy".
        name: the name as given.
        known: every name that would have worked.
    """
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    shown = ", ".join(known[:20]) + (f", and {len(known) - 20} more" if len(known) > 20 else "")
    return UnknownNameError(f"unknown {kind} {name!r}: {hint}known: {shown or 'none'}")
