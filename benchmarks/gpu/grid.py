"""The parts of the grid: no run starts that should not end within the time that is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from benchmarks.gpu import streams
from benchmarks.gpu.plan import Part, Plan
from gpu_bench import data
from gpu_bench import run as command
from gpu_bench.grid import Job, Readings, execute
from gpu_bench.ranks import Ranks
from gpu_bench.report.units import UNITS
from gpu_bench.settings import Setting
from mirrorflow.results import Row, Run, command_line, split

__all__ = ["Sharing", "carry_out", "check"]

MARGIN = 1.3  # of the expected seconds: no run may be broken off
START = (
    15.0  # seconds of a wave beside its epochs: processes, data, capture, the readings at the end
)


class Sharing(NamedTuple):
    """How runs share the device.

    Attributes
    ----------
    way : str
        Of `concurrency.WAYS`.
    runs : int
        At once.
    shared, alone : float
        Seconds per epoch and run where so many share the device, and where a run has it alone.
    """

    way: str
    runs: int
    shared: float
    alone: float

    def seconds(self, wave: Sequence[Run]) -> float:
        """Return how long runs that start together should take."""
        longest = max(map(_epochs, wave))
        return longest * max(self.alone, len(wave) * self.shared)


def check(parts: Sequence[Part], plan: Plan) -> None:
    """Raise InputError if a part's flags break a rule or its images are missing.

    Parts that need another's result are left to their turn.
    """
    for part in parts:
        if part.needs is None:
            for words in part.commands:
                _setting(part, words, plan).runs()
    if parts:
        data.load(plan.dataset, plan.data_root)


def carry_out(part: Part, plan: Plan, sharing: Sharing, left: Callable[[], float]) -> Row:
    """Compute the runs of a part that are not on disk yet, as long as time is left.

    Runs start only where the time that they are expected to take, by the speed measured before and
    then by that of the part's first wave, is left.

    Returns
    -------
    dict
        `runs` of the part, `finished` of them on disk, `failures`, `seconds` spent here and
        `complete`: whether all runs are on disk; one that failed is tried again another time.
    """
    started = time.perf_counter()
    settings = [_setting(part, words, plan) for words in part.commands]
    runs = [run for setting in settings for run in setting.runs()]
    protocol = settings[0].module()
    folder = Readings(settings[0].folder, protocol.COLUMNS)
    folder.units = UNITS
    job = Job(protocol.compute, command.place(settings[0]), Ranks.join(runs[0].spec["device"]))
    with folder.lock():
        failures, ended = _waves(job, runs, folder, sharing, part.weight, left)
        rows = folder.consolidate(runs, command_line("benchmarks.gpu"), {"part": part.name})
        frame, _ = split(rows)
        complete = ended and not failures
        if complete and len(frame):
            settings[0].conclude(frame)
    return {
        "runs": len(runs),
        "finished": sum(folder.read(run) is not None for run in runs),
        "failures": failures,
        "seconds": time.perf_counter() - started,
        "complete": complete,
    }


def _waves(
    job: Job,
    runs: Sequence[Run],
    folder: Readings,
    sharing: Sharing,
    pace: float,
    left: Callable[[], float],
) -> tuple[list[str], bool]:
    """Compute one wave, and then at its pace as many together as should end in time.

    Returns what went wrong, and whether all runs had their turn.
    """
    todo = [run for run in runs if folder.read(run) is None]
    failures: list[str] = []
    waves = 1
    while todo:
        expected = sharing.seconds(todo[: sharing.runs])
        fitting = int((left() - START) / (MARGIN * pace * expected))
        if fitting < 1:
            return failures, False
        # without a pause between them: where runs end apart, the next takes a free place
        waves = min(waves, fitting)
        some, todo = todo[: waves * sharing.runs], todo[waves * sharing.runs :]
        begun = time.perf_counter()
        if sharing.way == "streams":
            failures += streams.execute(job, some, folder, sharing.runs)
        else:
            failed = execute(job, some, folder, processes=sharing.runs, force=False)
            failures += [failure.message for _, failure in failed]
        spent = max(time.perf_counter() - begun - START, 0.0)
        pace = spent / (expected * math.ceil(len(some) / sharing.runs)) or pace
        waves = len(todo)
    return failures, True


def _setting(part: Part, words: tuple[str, ...], plan: Plan) -> Setting:
    setting: Any = command.configure(part.protocol, list(words))
    # the seeds that the paper's settings get later join the first one
    folder = part.name.removesuffix("-seeds")
    return replace(setting, out=plan.out / folder)


def _epochs(run: Run) -> int:
    return int(run.spec["epochs"] * run.spec.get("cycles", 1))
