"""Server of the explorer: one page, on loopback only, that computes what its sliders ask."""

from __future__ import annotations

import errno
import socket
from typing import Any

from bokeh.application import Application
from bokeh.application.handlers import FunctionHandler
from bokeh.server.server import Server

from mirrorflow.checks import InputError
from mirrorflow.explore.page import Page
from mirrorflow.explore.state import Settings, state

__all__ = ["server"]

HOST = "127.0.0.1"


def server(port: int) -> Server:
    """A server that is listening; `io_loop.start()` runs it.

    Parameters
    ----------
    port : int in [0, 65535]
        0 takes a free one.

    Raises
    ------
    InputError
        If the port is in use, or not allowed.
    """
    try:
        with socket.socket() as free:  # Bokeh asks for the number before it binds 0
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind((HOST, port))
            port = free.getsockname()[1]
        names = [f"{name}:{port}" for name in (HOST, "localhost")]
        for depth in (2, 3, 4):  # what is compiled at its first use is compiled now
            state(Settings(depth=depth, step=0.5))
        visit = Application(FunctionHandler(_visit))
        instance = Server({"/": visit}, port=port, address=HOST, allow_websocket_origin=names)
        instance.start()
        return instance
    except OSError as error:
        why = "in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise InputError(f"port must be free, but {port} is {why}; name another by --port.") from (
            error
        )


def _visit(document: Any) -> None:
    """A page for a visitor. Moves of a slider that arrive together are answered once."""
    page = Page(coarse=False)
    waiting: list[Any] = []

    def answer() -> None:
        waiting.clear()
        page.show(state(page.settings))

    def moved(attr: str, old: Any, new: Any) -> None:
        if not waiting:
            waiting.append(document.add_next_tick_callback(answer))

    for control in page.controls.values():
        control.on_change("value", moved)
    document.title = "mirrorflow explorer"
    document.add_root(page.layout)
