"""A process that works for another one ends with it, however that one ends."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time

__all__ = ["end_with"]


def end_with(parent: int) -> None:
    """End this process soon after process `parent`, which started it, is gone."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    # where the system can, sleep until then: a thread that wakes up while Python shuts down is
    # ended in the middle of something
    with contextlib.suppress(AttributeError, OSError):
        end = os.pidfd_open(parent)
        if os.getppid() == parent:
            select.select([end], [], [])
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
