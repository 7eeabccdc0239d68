"""``Hub.where``: one SQL condition over the fields of the cards, by SQLite in memory.

The condition is data from outside (a command line, a page). SQLite itself is told to prepare nothing but one SELECT that
reads the fields and calls harmless functions, and to stop when that takes too many steps.
"""

import difflib
import re
import sqlite3
from collections.abc import Sequence

from hubtune.errors import ConfigurationError
from hubtune.hub.card import FIELDS, ModelCard
from hubtune.hub.pools import QUOTED, expand

EXAMPLE = "params < 5e6 and paradigm like 'supervised%'"

_NUMBERS = {"params", "flops", "input_size", "feature_dim", "num_classes", "upstream_accuracy", "upstream_images"}
_FUNCTIONS = [
    "abs",
    "ceil",
    "ceiling",
    "coalesce",
    "floor",
    "glob",
    "ifnull",
    "iif",
    "instr",
    "length",
    "like",
    "ln",
    "log",
    "log10",
    "log2",
    "lower",
    "ltrim",
    "max",
    "min",
    "mod",
    "nullif",
    "pow",
    "power",
    "replace",
    "round",
    "rtrim",
    "sign",
    "sqrt",
    "substr",
    "substring",
    "trim",
    "typeof",
    "upper",
]
_LIMITS = {
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 10_000,
    sqlite3.SQLITE_LIMIT_LENGTH: 1_000_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 20,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
}
_STEPS_A_CARD = 10_000
_QUOTED = re.compile(QUOTED)


def select(cards: Sequence[ModelCard], condition: str, fields: Sequence[str] = FIELDS) -> list[str]:
    """Names of the cards for which the condition is true, in the order of the cards.

    Args:
        condition: a SQL expression over the fields, such as ``params < 5e6 and license = 'mit'``. Comparing with an unknown
            (NULL) value is not true. ``pool:NAME`` stands for the condition of that name.
        fields: those that may be asked for, where not every field of the cards is known.

    Raises:
        ConfigurationError: anything else; the message names the fields, the nearest field, and an example.
        UnknownNameError: no such pool.
    """
    try:
        expanded = expand(condition) if isinstance(condition, str) else condition
        _check_shape(expanded, fields)
        return _run(cards, expanded, fields)
    except (sqlite3.Error, sqlite3.Warning, ValueError, UnicodeError, OverflowError) as error:
        raise ConfigurationError(_message(condition, str(error), fields)) from None


def _check_shape(condition: str, fields: Sequence[str]) -> None:
    """An expression in balanced parentheses stays inside the parentheses that are put around it."""
    if not isinstance(condition, str) or not condition.strip():
        raise ValueError("it is empty")
    for quoted in _QUOTED.findall(condition):
        if quoted[0] == '"' and quoted[1:-1].lower() not in fields:
            raise ValueError(f"no such column: {quoted[1:-1]} (text takes single quotes: '{quoted[1:-1]}')")
    bare = _QUOTED.sub(" ", condition)
    for mark in (";", "--", "/*", "'", '"', "`", "[", "?", ":", "@", "$", "\0"):
        if mark in bare:
            raise ValueError(f"{mark!r} does not belong in one condition")
    depth = 0
    for mark in re.findall(r"[()]", bare):
        depth += 1 if mark == "(" else -1
        if depth < 0:
            break
    if depth != 0:
        raise ValueError("its parentheses do not match")


def _run(cards: Sequence[ModelCard], condition: str, fields: Sequence[str]) -> list[str]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        columns = ", ".join(f"{field} {'NUMERIC' if field in _NUMBERS else 'TEXT'}" for field in fields)
        connection.execute(f"CREATE TABLE cards ({columns})")
        connection.execute("BEGIN")
        rows = ([getattr(card, field) for field in fields] for card in cards)
        connection.executemany(f"INSERT INTO cards VALUES ({', '.join('?' * len(fields))})", rows)
        connection.execute("COMMIT")
        connection.execute("PRAGMA query_only = ON")
        for limit, value in _LIMITS.items():
            connection.setlimit(limit, value)
        connection.set_authorizer(_Authorizer(fields))
        budget = iter(range(1 + len(cards) * _STEPS_A_CARD // 100_000))
        connection.set_progress_handler(lambda: next(budget, None) is None, 100_000)
        return [name for (name,) in connection.execute(f"SELECT name FROM cards WHERE (\n{condition}\n)")]
    finally:
        connection.close()


class _Authorizer:
    """Says yes to one SELECT over the fields, and to nothing else."""

    def __init__(self, fields: Sequence[str]):
        self.fields = fields
        self.selects = 0

    def __call__(self, action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
        if action == sqlite3.SQLITE_SELECT:
            self.selects += 1
            allowed = self.selects == 1
        elif action == sqlite3.SQLITE_READ:
            allowed = first == "cards" and second in self.fields
        else:
            allowed = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in _FUNCTIONS
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def _message(condition: object, cause: str, fields: Sequence[str]) -> str:
    hint = ""
    unknown = re.search(r"no such column: (\w+)", cause)
    if unknown:
        near = difflib.get_close_matches(unknown[1].lower(), fields, n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
    if "authorized" in cause or "prohibited" in cause:
        cause = "it does more than compare the fields of one card"
    if "interrupted" in cause:
        cause = "it takes too many steps"
    shown = repr(condition) if len(repr(condition)) <= 200 else repr(condition)[:200] + "..."
    return f'where {shown}: {cause}{hint}. Expected one SQL condition over the fields {", ".join(fields)}; write for example "{EXAMPLE}"'
