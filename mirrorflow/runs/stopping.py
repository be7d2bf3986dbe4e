"""End of a command by Ctrl-C or SIGTERM within two seconds, and of the processes it started."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

__all__ = ["Stopped", "end_with", "stoppable"]

GRACE = 1.2  # seconds for a clean end


class Stopped(KeyboardInterrupt):
    """The process was asked to end.

    Attributes
    ----------
    code : int
        Exit code: 130 after Ctrl-C, 143 after SIGTERM.
    farewell : str
        What to say on stderr.
    """

    def __init__(self, number: int, farewell: str) -> None:
        super().__init__(f"signal {number}")
        self.code, self.farewell = 128 + number, farewell


@contextlib.contextmanager
def stoppable(farewell: str) -> Iterator[None]:
    """Inside, the two signals raise `Stopped`; where that doesn't get through, the process ends.

    Python runs signal handlers between two of its own instructions, so that a long call into a
    solver would hold them up. A thread that the signal wakes waits for `GRACE` seconds, prints
    `farewell` and ends the process. Finished runs are on disk by then, and a file that is being
    written appears only when it is whole.

    Outside the main thread, which alone may handle signals, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    finished = threading.Event()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    stop = functools.partial(_raise, farewell)
    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)}
    wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=_watch, args=(ours, finished, farewell), daemon=True)
    thread.start()
    try:
        yield
    except KeyboardInterrupt as error:
        raise error if isinstance(error, Stopped) else Stopped(signal.SIGINT, farewell) from None
    finally:
        finished.set()
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        theirs.close()
        thread.join()
        ours.close()


def _raise(farewell: str, number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # the second Ctrl-C of an impatient hand
    raise Stopped(number, farewell)


def _watch(woken: socket.socket, finished: threading.Event, farewell: str) -> None:
    while received := woken.recv(1):
        number = received[0]
        if number in (signal.SIGINT, signal.SIGTERM) and not finished.wait(GRACE):
            print(farewell, file=sys.stderr, flush=True)
            os._exit(128 + number)


def end_with(parent: int) -> None:
    """End this process soon after process `parent`, which started it, is gone."""
    threading.Thread(target=_watch_parent, args=(parent,), daemon=True).start()


def _watch_parent(parent: int) -> None:
    # where the system can, sleep until then: a thread that wakes up while Python shuts down is
    # ended in the middle of something
    with contextlib.suppress(AttributeError, OSError):
        end = os.pidfd_open(parent)
        if os.getppid() == parent:
            select.select([end], [], [])
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
