"""Runs side by side in one process, each in a thread and on a CUDA stream of its own."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

import torch

from gpu_bench.checkpoints import Checkpoints
from gpu_bench.grid import Job
from mirrorflow.checks import Array, InputError
from mirrorflow.results import Folder, Row, Run

__all__ = ["execute", "together"]

Result = TypeVar("Result")


def together(calls: Sequence[Callable[[], Result]], device: torch.device) -> list[Result]:
    """Call all at once; returns their results in order, and raises what the first of them raised.

    What a call starts on the device goes to its own stream, so that nothing of it waits for the
    others' kernels.
    """
    with ThreadPoolExecutor(len(calls)) as pool:
        started = [pool.submit(on_own_stream, call, device) for call in calls]
        return [future.result() for future in started]


def on_own_stream(call: Callable[[], Result], device: torch.device) -> Result:
    """Return call(), with a fresh stream as this thread's current one."""
    if device.type != "cuda":
        return call()
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.Stream(device)):
        result = call()
        torch.cuda.current_stream().synchronize()
        return result


def execute(job: Job, runs: Sequence[Run], folder: Folder, at_once: int) -> list[str]:
    """Compute the runs, `at_once` at a time, each on disk as soon as it is done.

    Returns
    -------
    list of str
        What went wrong in those that raised.
    """

    def compute(run: Run) -> tuple[Row, dict[str, Array]]:
        device = torch.device(run.spec["device"])
        return on_own_stream(lambda: job.compute(run, job.place, job.ranks), device)

    failures = []
    with ThreadPoolExecutor(at_once) as pool:
        started = {pool.submit(compute, run): run for run in runs}
        try:
            for future in as_completed(started):
                run = started[future]
                try:
                    folder.write(run, *future.result())
                except InputError as error:
                    failures.append(str(error))
                except Exception as error:  # one broken run must not take the others down
                    failures.append("".join(traceback.format_exception(error, limit=-3)))
                else:
                    Checkpoints(job.place.out / "checkpoints", run.key).clear()
        except BaseException:  # Ctrl-C: what has begun ends, what waits does not begin
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failures
