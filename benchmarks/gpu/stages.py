"""The stages of a sitting in order of value: measurements first, then the parts of the grid."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.gpu import ceilings, checks, concurrency, hot_spots, speed
from benchmarks.gpu.grid import Sharing, carry_out, check
from benchmarks.gpu.plan import Plan, parts
from benchmarks.gpu.sitting import Sitting, read
from mirrorflow.results import Row, code_digest

__all__ = ["Timing", "grid", "measurements", "names", "sharing"]

MEASUREMENTS = ("device", "concurrency", "speed", "hot-spots", "deterministic", "memory")
TRAINING = ("gpu_bench.protocols.one_shot", "gpu_bench.protocols.sculpt")  # with what they import
TIMED_EPOCHS = 3  # of each run, when several share the device
CAUTIOUS = 1.0  # seconds per epoch where nothing was measured: longer than any GPU takes
TWICE = ("--dataset", "digits", "--epochs", "2")  # what is trained twice for the same bits


class Timing(NamedTuple):
    """Flags of the measurements; see `python -m benchmarks.gpu --help`."""

    runs: tuple[int, ...]
    steps: int | None
    repeats: int
    workers: int


def names(plan: Plan) -> tuple[str, ...]:
    """Return the names of all stages, in order."""
    return (*MEASUREMENTS, *(part.name for part in parts(plan)))


def measurements(sitting: Sitting, plan: Plan, times: Timing, chosen: Sequence[str]) -> None:
    """Measure the device, the trainer on it, and what only CUDA can break.

    On random images of CIFAR-10's shape (or on digits): times don't depend on the pixels.
    """
    device = torch.device(plan.device)
    make = partial(speed.setting, device, plan.dataset, None, times.steps)
    cuda = device.type == "cuda"
    asked = {
        "device": torch.cuda.get_device_name(device) if cuda else "CPU",
        "dataset": plan.dataset,
        **times._asdict(),
        "runs": list(times.runs),
        "code": code_digest(*TRAINING),
    }
    computed = {
        "device": lambda: ceilings.measure(device, times.repeats),
        "concurrency": lambda: concurrency.measure(
            make, times.runs, concurrency.WAYS, TIMED_EPOCHS
        ),
        "speed": lambda: speed.measure(make(), times.repeats, times.workers),
        "hot-spots": lambda: hot_spots.measure(make()),
        "deterministic": lambda: checks.deterministic(plan.device, TWICE),
        "memory": lambda: checks.memory(plan.device),
    }
    for name in MEASUREMENTS:
        if name in chosen:
            sitting.stage(name, asked, computed[name])


def grid(sitting: Sitting, plan: Plan, chosen: Sequence[str]) -> None:
    """Run the parts of the grid as far as the time goes.

    Raises
    ------
    InputError
        If a flag breaks its rule or the images are missing; nothing has begun then.
    """
    share = sharing(sitting.out)
    wanted = [part for part in parts(plan) if part.name in chosen]
    check(wanted, plan)
    for part in wanted:
        needed = None if part.needs is None else read(sitting.out, part.needs)
        if part.needs is not None and (needed is None or needed["status"] != "complete"):
            print(f"{part.name}: waits for {part.needs}", file=sys.stderr)
            continue
        asked: Row = {
            "commands": [list(words) for words in part.commands],
            "code": code_digest(*TRAINING),
        }
        if part.needs is not None:  # the commands hold its path alone
            asked["tuned_sha256"] = _sha256(plan.tuned)
        sitting.stage(part.name, asked, partial(carry_out, part, plan, share, sitting.left))


def _sha256(path: Path) -> str | None:
    """Return what tells the content of a file from another; None if it can't be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:  # the stage refuses the file in its own words
        return None


def sharing(out: Path) -> Sharing:
    """Return what the concurrency measurement found best; one run at a time without it."""
    found = read(out, "concurrency")
    if found is None or found["status"] != "complete":
        return Sharing("processes", 1, CAUTIOUS, CAUTIOUS)
    best = found["result"]["best"]
    shared = best["seconds_per_run_epoch"]
    alone = [
        row["seconds_per_run_epoch"]
        for row in found["result"]["rows"]
        if row["runs"] == 1 and row["failure"] is None
    ]
    return Sharing(best["way"], best["runs"], shared, alone[0] if alone else shared * best["runs"])
