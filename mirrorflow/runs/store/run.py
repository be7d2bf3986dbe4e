"""Name of a run: the hash of its configuration and of the code that computes it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Row", "Run"]

Row = dict[str, Any]  # of str, int, float, bool and None


@dataclass(frozen=True, slots=True)
class Run:
    """One unit of work: a configuration without what doesn't change its numbers.

    Parameters
    ----------
    spec : dict of str, int, float, bool and None
        With the seed.
    digest : str
        Of the code that computes it, see `code_digest`.

    Examples
    --------
    >>> Run({"seed": 0}, "d").key == Run({"seed": 0}, "d").key
    True
    >>> Run({"seed": 0}, "d").key == Run({"seed": 1}, "d").key
    False
    """

    spec: Row
    digest: str

    @property
    def key(self) -> str:
        """Hash of specification and code: the run's name on disk."""
        text = json.dumps([self.spec, self.digest], sort_keys=True, allow_nan=True)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def made(self, row: Any) -> bool:
        """Whether `row` repeats this configuration; NaN equals NaN."""
        return isinstance(row, dict) and all(
            name in row and (row[name] == value or (row[name] != row[name] and value != value))
            for name, value in self.spec.items()
        )
