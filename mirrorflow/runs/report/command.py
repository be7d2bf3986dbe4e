"""Command line of the page: python -m mirrorflow.sweep report FOLDER."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from mirrorflow.checks import printable
from mirrorflow.runs.flags import described

__all__ = ["Report"]


@dataclass(frozen=True)
class Report:
    """Write a result folder's report: one HTML file that opens without a network.

    Takes folders of every study and of gpu_bench.
    """

    folder: tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FOLDER")]]
    """Result folder (--out of a study)."""
    page: Annotated[Path | None, described("report.html in FOLDER")] = None
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

        contents = Contents.of(self.folder)
        place = self.page or self.folder / "report.html"
        atomic_write(place, page(contents).encode())
        said = f"{place}: rows {len(contents.rows)}, figures {len(contents.figures)}"
        if len(contents.failed):
            said += f", failed runs {len(contents.failed)}"
        print(printable(said))
        for sentence in contents.left_out:
            print(f"left out: {printable(sentence)}")
