"""Processes on this machine, by joblib's loky."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import ShutdownExecutorError

from mirrorflow.runs.executors.base import Crew
from mirrorflow.runs.orphans import end_with

__all__ = ["Processes"]

LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


class Processes(Crew):
    """`jobs` processes with one BLAS thread each."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self._executor = self._start()

    @property
    def room(self) -> int:
        return 2 * self.jobs  # a worker that is done finds its next call waiting

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.jobs, initializer=_settle, initargs=(os.getpid(),), env=dict.fromkeys(LIMITS, "1")
        )

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        try:
            return self._executor.submit(function, *args)
        except BrokenProcessPool as error:  # a death that nobody has noticed yet
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def judge(self, error: BaseException) -> Literal["raised", "died", "gone"]:
        # the calls of a broken pool that its replacement overtook end with one of the others
        dead = isinstance(error, BrokenProcessPool | ShutdownExecutorError | CancelledError)
        return "died" if dead else "raised"

    def renew(self, generation: int) -> None:
        if generation == self.generation:  # one death breaks the pool, and every call in it
            self.dismiss()
            self._executor = self._start()
            self.generation += 1

    def dismiss(self) -> None:
        self._executor.shutdown(kill_workers=True)


def _settle(parent: int) -> None:
    """Leave the signals that go to a whole group to the parent, and end when it is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # a handler, because children would inherit that a signal is ignored
        signal.signal(number, lambda *_: None)
    end_with(parent)
