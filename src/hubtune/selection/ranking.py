"""What a search found."""

from dataclasses import dataclass
from typing import Any

from hubtune.hub import Hub

SHOWN = 5
"""Models that a ranking shows of itself."""


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """What a search found."""

    picks: Hub
    """The models to fine-tune, best first."""
    rows: list[dict[str, Any]]
    """One a model, best first: name, score, scores, share (of the images it was scored on), rank, seconds, error, late (whether the
    error is that time was up), predicted, low, high, card. ``score`` is the number that the strategy went by, after steps of fine-tuning
    the validation metric. ``predicted`` is the test accuracy to expect of its fine-tuning, in [0, 1], ``low`` and ``high`` the ends of a
    90 % interval; None where past runs do not tell. A model that failed comes last, with its reason."""
    seconds: float
    strategy: str
    budget: int
    """Models picked."""
    forward_passes: int
    """Images run through a model, over all models; what the caches knew is not in it."""
    late: bool = False
    """Whether time was up before the search was done; a search with more of it may pick others."""
    expected_regret: float | None = None
    """Accuracy by which the best pick is expected to fall short of the hub's best model; None where past runs do not tell."""
    notes: tuple[str, ...] = ()
    """What the user should know, such as what the predictions rest on, or why there are none."""

    def __repr__(self) -> str:
        lines = [f"Ranking of {len(self.rows)} models by {self.strategy}, picks: {', '.join(self.picks.names)}"]
        for row in self.rows[:SHOWN]:
            failed = "no time left" if row["late"] else "failed"
            score = failed if row["error"] else "not scored" if row["score"] is None else f"score {row['score']:.4g}"
            lines.append(f"  {row['name']}: {score}")
            if row["predicted"] is not None:
                lines[-1] += f", predicted accuracy {100 * row['predicted']:.0f} %"
        if len(self.rows) > SHOWN:
            lines.append(f"  and {len(self.rows) - SHOWN} more in rows")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "strategy": self.strategy,
            "budget": self.budget,
            "seconds": self.seconds,
            "forward_passes": self.forward_passes,
            "late": self.late,
            "expected_regret": self.expected_regret,
            "notes": list(self.notes),
            "picks": list(self.picks.names),
            "rows": self.rows,
        }
