"""Threads: compiled runs share them, and BLAS has one as long as an inner loop runs.

The inner loops are thousands of small products. Threads of BLAS gain little there, and beside other
work they wait for each other in every product.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from threadpoolctl import LibController, ThreadpoolController

__all__ = ["controller", "on_one_thread", "one_blas_thread", "spread"]

LARGE = 2e10  # floating-point operations of one product, above a second: threads help there

P = ParamSpec("P")
R = TypeVar("R")


def controller() -> ThreadpoolController:
    """The loaded libraries; to look for them takes milliseconds, so only after imports."""
    return _controller(len(sys.modules))


@functools.lru_cache(maxsize=1)
def _controller(modules: int) -> ThreadpoolController:
    return ThreadpoolController()


_lock, _loops = threading.Lock(), 0  # loops under way in all Python threads
_shared = contextlib.ExitStack()  # resets what the first of them has set


@contextlib.contextmanager
def one_blas_thread(work: float) -> Iterator[None]:
    """One BLAS thread within, for loops whose largest product takes `work` operations.

    Nothing is limited from `LARGE` on. Where a library has one number of threads for the process,
    the first of several loops sets it and the last one resets it.
    """
    global _loops
    if work >= LARGE:
        yield
        return
    libraries = [lib for lib in controller().lib_controllers if lib.user_api == "blas"]
    own = [lib for lib in libraries if getattr(lib, "threading_layer", "") == "openmp"]
    with _limited(own):  # of OpenMP every Python thread has its own number
        with _lock:
            if _loops == 0:
                _shared.enter_context(_limited([lib for lib in libraries if lib not in own]))
            _loops += 1
        try:
            yield
        finally:
            with _lock:
                _loops -= 1
                if _loops == 0:
                    _shared.close()


@contextlib.contextmanager
def _limited(libraries: list[LibController]) -> Iterator[None]:
    before = [library.num_threads for library in libraries]
    _set(libraries, [1] * len(libraries))
    try:
        yield
    finally:
        _set(libraries, before)


def _set(libraries: list[LibController], numbers: list[int]) -> None:
    for library, number in zip(libraries, numbers, strict=True):
        # newer threadpoolctl ignores all Python threads but the one that set a number first
        clear = getattr(library, "clear_controlling_thread", lambda force: None)
        clear(force=True)
        library.set_num_threads(number)
        clear(force=True)


def on_one_thread(function: Callable[P, R]) -> Callable[P, R]:
    """`function(problem, …)` within `one_blas_thread`; its largest product is Z diag(·) Zᵀ."""

    @functools.wraps(function)
    def limited(*args: P.args, **options: P.kwargs) -> R:
        problem = args[0] if args else options.get("problem")
        n, d = (getattr(problem, name, 0) for name in ("n", "d"))
        work = 2.0 * n * d * min(n, d)
        with one_blas_thread(work):
            return function(*args, **options)

    return limited


def spread(one: Callable[[int], R], count: int) -> list[R]:
    """`one(0)` … `one(count − 1)` on all cores, for compiled runs that hold no interpreter lock.

    The calling thread takes its part: one that only waited would be woken after each run, and take
    the lock and a core from those that work. After an error no further run begins.
    """
    remaining = iter(range(count))
    results: dict[int, R] = {}
    threads = min(_threads(), count)

    def work() -> None:
        try:
            for i in remaining:  # each number goes to one thread
                results[i] = one(i)
        finally:
            collections.deque(remaining, 0)

    with ThreadPoolExecutor(max(threads - 1, 1)) as pool:
        others = [pool.submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            other.result()
    return [results[i] for i in range(count)]


def _threads() -> int:
    """OMP_NUM_THREADS where it is set, else the cores that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
