"""The packages that a sitting needs; nothing here loads one of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from mirrorflow.checks import InputError

__all__ = ["MEASURING", "REPORTING", "require"]

# by the name that is imported, and the one that pip knows where it is another
REPORTING = ("numpy", "scipy", "pandas", "pyarrow", "rich", "matplotlib")
MEASURING = (*REPORTING, "torch", "tyro", "joblib", "threadpoolctl", "filelock", "sklearn", "PIL")
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow"}


def require(names: Iterable[str]) -> None:
    """Raise InputError, which names all that are missing, unless each can be found."""
    missing = [DISTRIBUTIONS.get(n, n) for n in names if importlib.util.find_spec(n) is None]
    if missing:
        listed = " ".join(missing)
        raise InputError(
            f"the sitting needs {', '.join(missing)}; install with: pip install {listed}."
        )
