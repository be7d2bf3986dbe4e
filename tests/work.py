"""Pieces of work for the tests of `mirrorflow.runs.executors`; workers import them from here."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import mirrorflow as mf

Item = tuple[str, str, Any]  # folder of the notes, what to do, a number


def perform(items: Sequence[Item]) -> list[Any]:
    """The number of each item, doubled, unless it is told to do something else."""
    return [_perform(*item) for item in items]


def _perform(folder: str, task: str, number: Any) -> Any:
    tries = len(list(Path(folder).glob(f"{number}-*")))
    Path(folder, f"{number}-{tries}").touch()
    if task == "raise" or (task == "raise twice" and tries < 2):
        raise RuntimeError(f"broken on purpose, {number}")
    if task == "refuse":
        raise mf.InputError(f"number must be even, but it is {number}.")
    if task == "die" or (task == "die once" and tries < 1):
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "exit":
        sys.exit(5)
    if task == "unpicklable":
        return Lock()
    if task == "wait":
        time.sleep(0.05)
    return 2 * number


def process(items: Sequence[Any]) -> list[int]:
    """Who computes."""
    return [os.getpid() for _ in items]


def double(items: Sequence[Any]) -> list[Any]:
    """Each number, doubled."""
    return [2 * item for item in items]
