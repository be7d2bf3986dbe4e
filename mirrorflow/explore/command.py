"""Command `mirrorflow explore`: the explorer in a browser, or as one HTML file."""

from __future__ import annotations

import contextlib
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path

from mirrorflow.checks import whole
from mirrorflow.extras import require
from mirrorflow.runs.cli import command

__all__ = ["Explore", "main"]


@dataclass(frozen=True)
class Explore:
    """Serve the explorer on this machine alone, until Ctrl-C.

    Sliders for decay, start, schedule, depth, step size and momentum; the solvers answer each move.
    """

    port: int = 5006
    """Port of 127.0.0.1; 0 takes a free one."""
    browse: bool = False
    """Open it in the browser."""
    page: Path | None = None
    """Instead, write one HTML file that needs no server, with the answers to a grid of settings."""

    def run(self) -> None:
        """Serve, or write."""
        require("mirrorflow explore", "bokeh", "contourpy")
        if self.page is not None:
            from mirrorflow.explore.static import html
            from mirrorflow.runs.store import atomic_write

            self.page.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self.page, html().encode())
            print(f"{self.page}: {self.page.stat().st_size / 1e6:.1f} MB")
            return
        from mirrorflow.explore.server import server

        with contextlib.suppress(KeyboardInterrupt):
            listening = server(whole("--port", self.port, 0, 65535))
            address = f"http://127.0.0.1:{listening.port}/"
            print(f"{address} shows the explorer; Ctrl-C ends it.", flush=True)
            if self.browse:
                webbrowser.open(address)
            listening.io_loop.start()


@command
def main(arguments: list[str] | None = None) -> int:
    """Read the flags and run; returns the exit code."""
    require("mirrorflow explore", "tyro")
    from mirrorflow.runs.flags import read_flags

    words = list(sys.argv[1:] if arguments is None else arguments)
    read_flags(Explore, words, sys.argv[0], Explore.__doc__ or "").run()
    return 0
