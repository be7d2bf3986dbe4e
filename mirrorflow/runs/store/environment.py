"""Where numbers come from: versions, processor, commit, command."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["command_line", "environment", "versions"]

PACKAGES = ["numpy", "scipy", "cvxpy", "clarabel", "torch", "scikit-learn"]
PACKAGES += ["matplotlib", "pandas", "pyarrow"]


def environment() -> dict[str, Any]:
    """Versions, processor and commit that the numbers come from.

    No commit is named where the package isn't part of the repository around it, as in the
    environment of another project.

    Returns
    -------
    dict of str
        JSON can hold it.

    Examples
    --------
    >>> {"python", "packages"} <= environment().keys()
    True
    """
    ours = bool(_git("ls-files", "--error-unmatch", Path(__file__).name))
    return {
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "git_commit": _git("rev-parse", "HEAD") if ours else None,
        "git_dirty": bool(_git("status", "--porcelain")) if ours else None,
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Those of the packages that are installed."""
    installed = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _git(*words: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=10
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def command_line(module: str) -> str:
    """The command that ran, as one would type it.

    Parameters
    ----------
    module : str
        Dotted name of the command's module.

    Returns
    -------
    str

    Examples
    --------
    >>> command_line("mirrorflow.sweep").startswith("python -m mirrorflow.sweep")
    True
    """
    return " ".join(["python -m", module, *map(shlex.quote, sys.argv[1:])])
