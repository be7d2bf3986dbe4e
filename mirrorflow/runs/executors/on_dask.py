"""The workers of a running Dask cluster."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, Literal

from mirrorflow.checks import InputError
from mirrorflow.extras import require
from mirrorflow.runs.executors.base import Crew

__all__ = ["OnDask"]

PATIENCE = 10  # seconds to connect


class OnDask(Crew):
    """Dask repeats the calls of a worker that dies elsewhere, and gives up after four deaths."""

    def __init__(self, address: str) -> None:
        require(f"--scheduler {address}", "distributed")
        from distributed import Client

        try:
            self._client = Client(address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--scheduler must be the address of a Dask scheduler, but {address} does not "
                f"answer ({type(error).__name__})."
            ) from None
        self._executor = self._client.get_executor(pure=False)
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # we say it in a sentence
        if not self._client.nthreads():
            warnings.warn(f"{address} has no workers yet; waiting for them.", stacklevel=4)

    @property
    def room(self) -> int:
        return 2 * max(len(self._client.nthreads()), 1)

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = self._executor.submit(function, *args)
        return future

    def judge(self, error: BaseException) -> Literal["raised", "died", "gone"]:
        from distributed import KilledWorker

        if isinstance(error, CancelledError) or self._client.status != "running":
            return "gone"
        return "died" if isinstance(error, KilledWorker) else "raised"

    def dismiss(self) -> None:
        self._executor.shutdown(wait=False)
        self._client.close(timeout=1)
