"""Scores that are known: of one model on one task, small enough for a JSON file each."""

import hashlib
import json
import os

from hubtune.errors import RunError
from hubtune.runs import cache_folder, cause_of, temporary_beside
from hubtune.tasks import Task

SCORES_VERSION = 2
"""Raised when a proxy computes something else under the same name."""


class Memory:
    """Scores of one model on one task, by name.

    Proxies of one's own, ``my.module:name``, are not kept: nobody knows what they will compute tomorrow.
    """

    def __init__(self, fingerprint: str, canvas_size: int | None, task: Task, seed: int):
        key = json.dumps([SCORES_VERSION, fingerprint, canvas_size, task.fingerprint, seed])
        self.key = hashlib.sha256(key.encode()).hexdigest()[:32]
        """Equal where all of these are."""
        self._path = cache_folder() / "scores" / f"{self.key}.json"

    def read(self) -> dict[str, float]:
        try:
            content = json.loads(self._path.read_text())
            return {name: float(value) for name, value in content.items() if ":" not in name}
        except (OSError, ValueError, AttributeError):
            return {}

    def add(self, scores: dict[str, float]) -> None:
        """Keep these beside what is known.

        Raises:
            RunError: the cache cannot be written, such as on a full disk.
        """
        temporary = temporary_beside(self._path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self.read() | {name: value for name, value in scores.items() if ":" not in name}))
            os.replace(temporary, self._path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise RunError(
                f"scores cannot be written to {self._path.parent} ({cause_of(error)}); free some space or set HUBTUNE_CACHE"
            ) from error
