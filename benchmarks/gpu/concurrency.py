"""What several runs at once reach together on one device, and in which way they share it best.

processes   each run in a process of its own; without a multi-process service their kernels take
            turns on the device
streams     runs in threads of one process, each with its captured steps on a stream of its own;
            their kernels may run side by side, and one interpreter starts them all
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.gpu import speed, streams
from benchmarks.vision_parts import Setting
from mirrorflow.execution import end_with
from mirrorflow.results import Row

__all__ = ["WAYS", "best", "measure"]

WAYS = ("processes", "streams")
PATIENCE = 120.0  # seconds that runs wait for one another to be ready


class Task(NamedTuple):
    """What every run does: `epochs` epochs of `method`, after one that captures its step.

    A process makes the setting for itself: images sent there would need shared memory.
    """

    make: Callable[[], Setting]
    method: str
    epochs: int


def measure(
    make: Callable[[], Setting],
    counts: Sequence[int],
    ways: Sequence[str],
    epochs: int,
    method: str = "pilot",
) -> Row:
    """Time equal runs that start together, evaluation after every epoch included.

    Parameters
    ----------
    make : callable
        Returns the images and the device; it can be pickled.
    counts : sequence of int
        Numbers of runs at once.
    ways : sequence of str
        Among WAYS.
    epochs : int
        Timed epochs of each run.
    method : str

    Returns
    -------
    dict
        `rows`: for each way and count `seconds_per_run_epoch` (from the first start to the last
        end, over runs and epochs), `images_per_second` (training images, all runs together), or
        the `failure` that ended it; and `best`, the row with the least seconds.
    """
    task, setting = Task(make, method, epochs), make()
    images = len(setting.dataset.train_labels) // setting.batch_size * setting.batch_size
    rows: list[Row] = []
    for way in ways:
        for count in counts:
            if count == 1 and any(row["runs"] == 1 for row in rows):
                continue  # one run is one run
            row: Row = {"way": way, "runs": count, "failure": None}
            try:
                spans = (
                    _by_streams(task, setting, count)
                    if way == "streams"
                    else _by_processes(task, count)
                )
            except Exception:  # what one way can't do, the other may
                row["failure"] = traceback.format_exc(limit=-2)
            else:
                starts, ends = zip(*spans, strict=True)
                seconds = (max(ends) - min(starts)) / (count * epochs)
                row["seconds_per_run_epoch"] = seconds
                row["images_per_second"] = images / seconds
            rows.append(row)
    return {"method": method, "epochs": epochs, "rows": rows, "best": best(rows)}


def best(rows: Sequence[Row]) -> Row:
    """Return the row with the least seconds per epoch of a run; ValueError if all failed."""
    return min(
        (row for row in rows if row["failure"] is None),
        key=lambda row: row["seconds_per_run_epoch"],
    )


Span = tuple[float, float]  # when a run began its timed epochs and ended them, by a shared clock


def _by_streams(task: Task, setting: Setting, count: int) -> list[Span]:
    ready = threading.Barrier(count, timeout=PATIENCE)
    return streams.together([lambda: _timed(task, setting, ready)] * count, setting.device)


def _by_processes(task: Task, count: int) -> list[Span]:
    # fresh interpreters: a forked one can't use CUDA
    context = multiprocessing.get_context("spawn")
    ready, found = context.Barrier(count, timeout=PATIENCE), context.Queue()
    given = (os.getpid(), task, ready, found)
    workers = [context.Process(target=_process, args=given) for _ in range(count)]
    try:
        for worker in workers:
            worker.start()
        spans = [found.get(timeout=2.0 * PATIENCE) for _ in workers]
    finally:
        for worker in workers:
            worker.kill()  # those that have answered are done
            worker.join()
    failures = [span for span in spans if isinstance(span, str)]
    if failures:
        raise RuntimeError(failures[0])
    return spans


def _process(parent: int, task: Task, ready: Any, found: Any) -> None:
    end_with(parent)  # no training goes on by itself where that one was ended
    torch.set_num_threads(1)
    try:
        setting = task.make()
        torch.backends.cudnn.benchmark = setting.device.type == "cuda"
        span: Span | str = _timed(task, setting, ready)
    except Exception:
        ready.abort()
        span = traceback.format_exc(limit=-2)
    found.put(span)


def _timed(task: Task, setting: Setting, ready: Any) -> Span:
    """Train; the clock runs from when all are ready, after their first epoch."""
    mode = speed.fastest(setting.device)
    batches = setting.batches(mode)
    trainer = setting.trainer(task.method, mode, epochs=task.epochs + 1)
    start = 0.0

    def read() -> torch.Tensor:
        return trainer.accuracy(batches.evaluation())

    def tell(_: Any) -> None:
        nonlocal start
        if len(trainer.history.epochs) == 1:
            ready.wait()
            start = time.perf_counter()  # the same clock in every process

    try:
        trainer.train(batches, read, tell)  # ends with reading the last epoch's numbers
    except BaseException:
        ready.abort()  # the others must not wait for this one
        raise
    return start, time.perf_counter()
