"""Where numbers come from: versions, processor, commit, command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["command_line", "environment"]

PACKAGES = ["numpy", "scipy", "cvxpy", "clarabel", "torch", "scikit-learn"]
PACKAGES += ["matplotlib", "pandas", "pyarrow"]


def environment() -> dict[str, Any]:
    """Versions, processor and commit that the numbers come from.

    No commit is named where the package isn't part of the repository around it, as in the
    environment of another project.
    """
    ours = bool(_git("ls-files", "--error-unmatch", Path(__file__).name))
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "packages": versions,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "git_commit": _git("rev-parse", "HEAD") if ours else None,
        "git_dirty": bool(_git("status", "--porcelain")) if ours else None,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
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
    """The command that ran, as one would type it."""
    return " ".join(["python -m", module, *map(shlex.quote, sys.argv[1:])])
