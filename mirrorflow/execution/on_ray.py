"""The workers of Ray."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal

from mirrorflow.checks import InputError
from mirrorflow.execution.base import Crew

__all__ = ["OnRay"]


class OnRay(Crew):
    """One core for each call."""

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError:
            raise InputError(f"--scheduler {address} needs Ray; pip install ray.") from None
        self._ray = ray
        try:
            ray.init(
                address=None if address == "ray" else address,
                include_dashboard=False if address == "ray" else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--scheduler must be the address of a Ray cluster, but {address} does not "
                f"answer ({type(error).__name__})."
            ) from None
        self._remote = ray.remote(num_cpus=1, max_retries=0)(_call)

    @property
    def room(self) -> int:
        return 2 * max(int(self._ray.cluster_resources().get("CPU", os.cpu_count() or 1)), 1)

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        future: Future[Any] = self._remote.remote(function, *args).future()
        return future

    def judge(self, error: BaseException) -> Literal["raised", "died", "gone"]:
        kinds = self._ray.exceptions
        if isinstance(error, ConnectionError):
            return "gone"
        dead = kinds.WorkerCrashedError | kinds.NodeDiedError | kinds.OutOfMemoryError
        return "died" if isinstance(error, dead) else "raised"

    def dismiss(self) -> None:
        self._ray.shutdown()


def _call(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)
