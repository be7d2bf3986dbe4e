"""Executors (`concurrent.futures.Executor`) of independent work: processes here, Dask, SLURM.

`map_unordered` adds what executors lack. What raises is tried again; what was under way when a
worker died is repeated one by one, so that the call that kills its worker is found.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    wait,
)
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Lock, Thread
from traceback import format_exc, format_exception
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlsplit

from mirrorflow.checks import InputError, whole
from mirrorflow.extras import require
from mirrorflow.runs.stopping import end_with

__all__ = ["Failure", "executor", "map_unordered"]

TRIES = 3
DIED = "The process that computed it died {} times; was it killed, or out of memory?"
WAITING = 200  # calls that wait at a cluster's scheduler
CONNECT = 10  # seconds
POLL = 1.0  # seconds between two looks at SLURM's jobs
DASK = ("tcp", "tls", "ws", "wss", "ucx")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")

Item = TypeVar("Item")
Result = TypeVar("Result")
Compute = Callable[[Sequence[Any]], Sequence[Any]]


@contextlib.contextmanager
def executor(
    jobs: int, scheduler: str | None = None, logs: Path = Path("submitit")
) -> Iterator[Executor]:
    """An executor for as long as the context lasts; at its end what is under way is lost.

    Parameters
    ----------
    jobs : int
        Processes on this machine, each with one BLAS thread; 1 computes in this process.
    scheduler : str, optional
        A cluster instead: tcp://HOST:PORT of a Dask scheduler; or slurm?OPTION=VALUE&…, with the
        options of submitit's SLURM executor (slurm_partition, timeout_min, …). local?… starts the
        same jobs on this machine.
    logs : Path
        Where SLURM's jobs write; a folder that they see.

    Raises
    ------
    InputError
        If the scheduler is none, its package isn't installed, or nobody answers there.
    """
    whole("jobs", jobs, 1)
    kind, _, options = (scheduler or "").partition("?")
    if scheduler is None:
        chosen: Executor = _Serial() if jobs == 1 else _Processes(jobs)
    elif urlsplit(scheduler).scheme in DASK:
        chosen = _Dask(scheduler)
    elif kind in ("slurm", "local"):
        chosen = _Submitit(kind, dict(parse_qsl(options)), logs)
    else:
        raise InputError(
            "--scheduler must be tcp://HOST:PORT of a Dask scheduler or slurm?OPTION=VALUE&…, "
            f"but it is {scheduler!r}."
        )
    try:
        yield chosen
    finally:
        chosen.shutdown(wait=False)


class _Serial(Executor):
    """Every call is over when `submit` returns."""

    in_flight = 1

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*args))
        return future


class _Processes(Executor):
    """loky's processes; a pool that a dead worker has broken is replaced by the next call."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self.in_flight = 2 * jobs  # a worker that is done finds its next call waiting

    def _pool(self) -> Executor:
        from loky import get_reusable_executor

        environment = dict.fromkeys(THREADS, "1")
        start = {"initializer": _settle, "initargs": (os.getpid(),), "env": environment}
        return get_reusable_executor(self._jobs, timeout=None, **start)

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        try:
            return self._pool().submit(function, *args)
        except BrokenExecutor:  # a worker died since the pool was looked at
            return self._pool().submit(function, *args)

    def shutdown(self, wait: bool = True, **_: Any) -> None:
        self._pool().shutdown(kill_workers=True)  # type: ignore[call-arg]  # loky's


def _settle(parent: int) -> None:
    """Leave the signals that go to a whole group to the parent, and end when it is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # a handler, because children would inherit that a signal is ignored
        signal.signal(number, lambda *_: None)
    end_with(parent)


class _Dask(Executor):
    """A running cluster, which itself repeats the calls of a worker that dies elsewhere."""

    def __init__(self, address: str) -> None:
        require(f"--scheduler {address}", "distributed")
        from distributed import Client

        try:
            self._client = Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--scheduler must be the address of a Dask scheduler, but {address} does not "
                f"answer ({type(error).__name__})."
            ) from None
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # we say it in a sentence
        if not self._client.nthreads():
            warnings.warn(f"{address} has no workers yet; waiting for them.", stacklevel=5)
        self._executor = self._client.get_executor(pure=False)
        self.submit = self._executor.submit  # type: ignore[method-assign]

    def shutdown(self, wait: bool = True, **_: Any) -> None:
        self._executor.shutdown(wait=False)
        self._client.close(timeout=1)


class _Submitit(Executor):
    """SLURM by submitit, whose jobs are no futures: what is asked for together is one array."""

    def __init__(self, cluster: str, options: dict[str, str], logs: Path) -> None:
        require(f"--scheduler {cluster}", "submitit")
        from submitit import AutoExecutor

        given = {name: int(v) if v.isdigit() else v for name, v in options.items()}
        try:
            self._executor = AutoExecutor(logs, cluster=cluster)
            self._executor.update_parameters(**{"timeout_min": 24 * 60, **given})
        except (NameError, TypeError, ValueError, RuntimeError, OSError) as error:
            rule = f"--scheduler must be {cluster}?OPTION=VALUE&… with options of submitit"
            raise InputError(f"{rule} ({error}).") from None
        self._new: deque[tuple[Future[Any], tuple[Any, ...]]] = deque()
        self._jobs: dict[Any, Future[Any]] = {}
        self._closed = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., Any], /, *args: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._new.append((future, (function, *args)))
        return future

    def _watch(self) -> None:
        while not self._closed.wait(POLL):
            new = [self._new.popleft() for _ in range(len(self._new))]
            try:
                with self._executor.batch() if new else contextlib.nullcontext():
                    jobs = [self._executor.submit(*call) for _, call in new]
                self._jobs.update(zip(jobs, (future for future, _ in new), strict=True))
            except Exception as refused:  # whatever sbatch says
                for future, _ in new:
                    future.set_exception(refused)
            for job in [job for job in self._jobs if job.done()]:
                future = self._jobs.pop(job)
                try:
                    future.set_result(job.result())
                except Exception as error:  # submitit's, of what it computed or of its end
                    future.set_exception(error)

    def shutdown(self, wait: bool = True, **_: Any) -> None:
        self._closed.set()
        self._thread.join()
        for job in self._jobs:
            job.cancel(check=False)


class Failure(NamedTuple):
    """Why an item has no result.

    Attributes
    ----------
    message : str
        A sentence where `refused`, otherwise the end of the traceback.
    attempts : int
    refused : bool
        Whether an InputError said so, at once; nothing else is final before three attempts.
    """

    message: str
    attempts: int
    refused: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    items: Sequence[Any]
    attempts: int = 0
    alone: bool = False  # it was under way when a worker died: is it the one that kills?


def map_unordered(
    compute: Callable[[Sequence[Item]], Sequence[Result]],
    pieces: Iterable[Sequence[Item]],
    executor: Executor,
) -> Iterator[tuple[Sequence[Item], Sequence[Result] | Failure]]:
    """Compute every piece; yields each with its results, or why there are none, as it ends.

    A piece that raises three times, or is refused once, is cut into its items, each of which has
    one attempt left. A worker that dies takes down what it had; which piece was to blame is not
    known, so that all that were under way are repeated at the end, one by one. None of this
    changes a result that depends on its piece alone.

    Parameters
    ----------
    compute : callable
        compute(items) -> results, in the same order; sent to the workers, so a function of a
        module or a `functools.partial` of one.
    pieces : iterable of sequences
    executor : Executor
        Its attribute `in_flight`, if it has one, says how many calls to have under way.
    """
    waiting = deque(_Piece(items) for items in pieces)
    suspects: deque[_Piece] = deque()
    under_way: dict[Future[Any], _Piece] = {}
    most = getattr(executor, "in_flight", WAITING)
    while waiting or suspects or under_way:
        start = [waiting.popleft() for _ in range(min(len(waiting), most - len(under_way)))]
        if not start and not under_way:
            start = [replace(suspects.popleft(), alone=True)]
        for piece in start:
            under_way[executor.submit(_attempt, compute, piece.items)] = piece
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            piece = under_way.pop(future)
            result, died = _result(future)
            if not isinstance(result, Failure):
                yield piece.items, result
            elif died and not piece.alone:
                suspects.append(piece)
            else:
                attempts = piece.attempts + 1
                message = result.message.format(attempts) if died else result.message
                if not result.refused and attempts < TRIES:
                    again = replace(piece, attempts=attempts, alone=False)
                    (suspects if died else waiting).append(again)
                elif len(piece.items) == 1:
                    yield piece.items, Failure(message, attempts, result.refused)
                else:
                    waiting += [_Piece([item], TRIES - 1) for item in piece.items]


def _result(future: Future[Any]) -> tuple[Any, bool]:
    """The results or the failure of a call that has ended, and whether its worker died.

    Raises
    ------
    InputError
        Where no other call can do better.
    """
    try:
        error = future.exception()
    except CancelledError as gone:
        raise InputError("The cluster's scheduler is gone; finished runs are kept.") from gone
    if error is None:
        return future.result(), False
    if isinstance(error, BrokenExecutor) or type(error).__name__ in (
        "KilledWorker",  # Dask's
        "UncompletedJobError",  # submitit's
        "ShutdownExecutorError",  # loky's, of calls that the pool's replacement overtook
    ):
        return Failure(DIED, 1, False), True
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError):
            raise InputError(
                f"The workers can't import {cause.name}; install what is installed here there too."
            ) from error
        cause = cause.__cause__
    return Failure("".join(format_exception(error, limit=-3)), 1, False), False


# a worker of a cluster may have several threads; LSODA isn't reentrant, and how many threads BLAS
# takes is set for the process
_one_at_a_time = Lock()


def _attempt(compute: Compute, items: Sequence[Any]) -> Sequence[Any] | Failure:
    try:
        with _one_at_a_time, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said once, when the work was set up
            return compute(items)
    except InputError as error:
        return Failure(str(error), 1, True)
    except Exception:  # one broken run must not take the others down; it is reported by name
        return Failure(format_exc(limit=-3), 1, False)
