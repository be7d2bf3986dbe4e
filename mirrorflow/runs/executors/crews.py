"""Executors: this process, processes beside it, a Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from urllib.parse import urlsplit

from mirrorflow.checks import InputError, whole
from mirrorflow.runs.executors.base import Crew

__all__ = ["crew"]

DASK = ("tcp", "tls", "ws", "wss", "ucx")


@contextlib.contextmanager
def crew(jobs: int, scheduler: str | None = None) -> Iterator[Crew]:
    """The workers for as long as the context lasts.

    Parameters
    ----------
    jobs : int
        Processes on this machine, each with one BLAS thread; 1 computes in this process.
    scheduler : str, optional
        Instead: address of a running cluster, tcp://HOST:PORT of a Dask scheduler.

    Raises
    ------
    InputError
        If the address is none, its package isn't installed, or nobody answers there.
    """
    whole("jobs", jobs, 1)
    found = _made(jobs, scheduler)
    try:
        yield found
    finally:
        found.dismiss()


def _made(jobs: int, scheduler: str | None) -> Crew:
    if scheduler is None:
        if jobs == 1:
            from mirrorflow.runs.executors.here import Here

            return Here()
        from mirrorflow.runs.executors.processes import Processes

        return Processes(jobs)
    if urlsplit(scheduler).scheme in DASK:
        from mirrorflow.runs.executors.on_dask import OnDask

        return OnDask(scheduler)
    raise InputError(
        f"--scheduler must be tcp://HOST:PORT of a Dask scheduler, but it is {scheduler!r}."
    )
