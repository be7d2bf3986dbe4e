"""Optional packages: the extra that brings each, and the sentence that names a missing one."""

from __future__ import annotations

import importlib.util

from mirrorflow.checks import InputError

__all__ = ["EXTRAS", "TABLES", "MissingPackage", "require"]

TABLES = (
    "tyro",
    "rich",
    "pandas",
    "pyarrow",
    "loky",
    "filelock",
    "jinja2",
    "pylatexenc",
    "matplotlib",
    "sklearn",
)
# what the extras of pyproject.toml bring, by the names that are imported; the smallest first
EXTRAS = {
    "references": ("cvxpy", "clarabel"),
    "torch": ("torch",),
    "tensorboard": ("tensorboard",),
    "explore": ("tyro", "bokeh", "contourpy"),
    "cluster": ("distributed", "submitit"),
    "study": (*TABLES, "cvxpy", "clarabel"),
    "vision": (*TABLES, "cvxpy", "clarabel", "torch", "torchvision", "PIL"),
}
DISTRIBUTIONS = {"sklearn": "scikit-learn", "PIL": "pillow", "distributed": "dask[distributed]"}


class MissingPackage(InputError, ModuleNotFoundError):
    """An optional package isn't installed; the message names it and what installs it."""


def require(what: str, *packages: str) -> None:
    """Raise MissingPackage unless all `packages`, which `what` needs, can be found.

    Examples
    --------
    >>> require("min_l1", "numpy", "scipy")
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        named = ", ".join(DISTRIBUTIONS.get(name, name) for name in missing)
        extra = next((e for e, brings in EXTRAS.items() if {*missing} <= {*brings}), "all")
        raise MissingPackage(
            f"{what} needs {named}, not installed here; pip install 'mirrorflow[{extra}]'."
        )
