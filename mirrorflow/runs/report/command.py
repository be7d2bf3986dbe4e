"""Command line of the page: python -m mirrorflow.sweep report FOLDER …."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mirrorflow.checks import InputError, printable
from mirrorflow.runs.flags import described

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """Write the report of result folders: one HTML file that opens without a network.

    Takes folders of every study and of gpu_bench.
    """

    folders: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FOLDER")]]
    """Result folders (--out of a study), one or several."""
    page: Annotated[Path | None, described("report.html in the first FOLDER")] = None
    """File to write."""

    def run(self) -> None:
        """Write the page.

        Raises
        ------
        InputError
            If the folder holds no whole results, or the page can't be written.
        """
        from mirrorflow.runs.report import Contents, page
        from mirrorflow.runs.store import atomic_write

        if not self.folders:
            raise InputError("FOLDER must name at least one result folder, but there is none.")
        parts = [Contents.of(folder) for folder in self.folders]
        title = "" if len(parts) == 1 else f"{len(parts)} studies"
        file = self.page or self.folders[0] / "report.html"
        atomic_write(file, page(*parts, title=title).encode())
        rows, figures, failed = (
            sum(len(getattr(one, name)) for one in parts) for name in ("rows", "figures", "failed")
        )
        summary = f"{file}: rows {rows}, figures {figures}"
        print(printable(summary + f", failed runs {failed}" * bool(failed)))
        for sentence in (sentence for one in parts for sentence in one.left_out):
            print(f"left out: {printable(sentence)}")
