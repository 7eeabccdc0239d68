"""What may be spent: models to pick, and how long or how many forward passes the search may take to find them."""

import math
import re
from dataclasses import dataclass

from hubtune.errors import ConfigurationError

USUAL = 2
"""Models picked where a budget limits the search alone."""

_UNITS = {
    "models": ("", "model", "models"),
    "seconds": ("s", "sec", "second", "seconds"),
    "minutes": ("min", "minute", "minutes"),
    "hours": ("h", "hour", "hours"),
    "passes": ("pass", "passes", "forward pass", "forward passes"),
}
_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600}
_EXPECTED = "expected a number of models (2), of seconds (60s, 5 min), of forward passes (2000 passes), or several joined by commas"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How much a search may spend, and how many models it is to pick. Checked once when made.

    Raises:
        ConfigurationError: seconds or passes that are not above zero.
    """

    models: int | None = None
    """Models to pick and fine-tune; None is two, or the whole hub where it has fewer."""
    seconds: float | None = None
    """Time the search may take, > 0; what is scored by then is ranked. None is no limit."""
    passes: int | None = None
    """Images the search may run through models, summed over models, >= 1; what a cache knows counts too, so that the answer does not
    depend on it. None is no limit."""

    def __post_init__(self) -> None:
        mistakes = []
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            mistakes.append(f"seconds = {self.seconds!r}: expected more than 0")
        if self.passes is not None and self.passes < 1:
            mistakes.append(f"passes = {self.passes!r}: expected at least 1")
        if mistakes:
            raise ConfigurationError("a budget cannot be so:\n  " + "\n  ".join(mistakes))

    @classmethod
    def parse(cls, value: "int | str | Budget") -> "Budget":
        """A budget as a user writes it: ``2``, ``"60s"``, ``"2000 passes"``, ``"3 models, 5 min"``.

        Raises:
            ConfigurationError: none of these, or one unit twice.
        """
        if isinstance(value, Budget):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return cls(models=value)
        if not isinstance(value, str):
            raise ConfigurationError(f"budget {value!r} cannot be read; {_EXPECTED}")
        parts: dict[str, float] = {}
        for part in value.split(","):
            unit, amount = _part(part, value)
            if unit in parts:
                raise ConfigurationError(f"budget {value!r} gives {unit} twice; give each once")
            parts[unit] = amount
        whole = {name: int(parts[name]) for name in ("models", "passes") if name in parts}
        return cls(**whole, seconds=parts.get("seconds"))

    def picks(self, pool: int) -> int:
        """How many models to pick from a hub of ``pool`` models, as far as so many can be scored in time.

        Raises:
            ConfigurationError: fewer than one, or more than there are.
        """
        if self.models is None:
            return min(USUAL, pool)
        if not 1 <= self.models <= pool:
            raise ConfigurationError(f"budget {self.models} cannot be met: the hub has {pool} models; expected 1 to {pool}")
        return self.models

    def __str__(self) -> str:
        parts = (("models", self.models), ("seconds", self.seconds), ("passes", self.passes))
        return ", ".join(f"{amount:g} {unit}" for unit, amount in parts if amount is not None) or "the usual"


def _part(part: str, whole: str) -> tuple[str, float]:
    """One number with its unit: "models", "seconds" or "passes"."""
    match = re.fullmatch(r"\s*([-+]?\d+(?:\.\d+)?(?:e\d+)?)\s*([a-z ]*?)\s*", part.lower())
    unit = next((unit for unit, names in _UNITS.items() if match and match[2] in names), None)
    if match is None or unit is None:
        raise ConfigurationError(f"budget {whole!r} cannot be read; {_EXPECTED}")
    amount = float(match[1])
    if math.isinf(amount):
        raise ConfigurationError(f"budget {whole!r} is more than a number can be; {_EXPECTED}")
    if unit in _SECONDS:
        return "seconds", amount * _SECONDS[unit]
    if amount != int(amount):
        raise ConfigurationError(f"budget {whole!r} asks for {amount:g} {unit}; expected a whole number")
    return unit, amount
