"""What all figures share: sizes in print, type, panels, captions, files.

A figure is made for a column (3.25 in) or a page (6.75 in) and has no text below 7 points there.
"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from mirrorflow.checks import InputError, meant

__all__ = [
    "MARKERS",
    "STYLE",
    "WIDTHS",
    "Width",
    "below",
    "caption",
    "inches",
    "panels",
    "save",
    "tidy",
]

Width = Literal["column", "page"]
WIDTHS = {"column": 3.25, "page": 6.75}  # inches
STYLE: Any = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.25,
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "legend.labelspacing": 0.3,
    "legend.borderaxespad": 0.3,
    "lines.linewidth": 1.3,
    "pdf.fonttype": 42,
}
MARKERS = "osD^vP*X"
LINE = 0.125  # inches, of a caption
CHARACTERS = 18.5  # of a caption in an inch


def inches(width: str) -> float:
    """The width of a column or a page.

    Raises
    ------
    InputError
        If it is neither.
    """
    if width not in WIDTHS:
        rule = f"width must be one of {', '.join(WIDTHS)}, but it is {width!r}."
        raise InputError(rule + meant(str(width), WIDTHS))
    return WIDTHS[width]


def panels(
    count: int, width: str, height: float = 2.2, across: int = 3, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of panels: side by side on a page, one below the other in a column.

    Parameters
    ----------
    count : int
    width : "column" or "page"
    height : float
        Of a panel, in inches.
    across : int
        The most panels in a line of a page.
    shared
        As `Figure.subplots` has it.
    """
    size, columns = inches(width), 1 if width == "column" else min(count, across)
    rows = -(-count // columns)
    figure = Figure(figsize=(size, rows * height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for axes in grid[count:]:
        axes.remove()
    return figure, list(grid[:count])


def tidy(axes: Axes) -> None:
    """Few tick labels: whole decades where there are some, else 1, 2 and 5 times powers of ten."""
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "log":
            low, high = sorted(axis.get_view_interval())
            axis.set_minor_formatter(NullFormatter())
            if isinstance(axis.get_major_locator(), LogLocator):
                most = 4 if axis is axes.xaxis else 6
                if high < 30.0 * low:
                    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=most))
                    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                    axis.set_minor_locator(NullLocator())
                else:
                    axis.set_major_locator(LogLocator(numticks=most))
        elif axis.get_scale() == "linear" and axis.get_major_locator().__class__ is not NullLocator:
            _thin(axis, 4 if axis is axes.xaxis else 6)


def below(axes: Axes, columns: int = 1) -> None:
    """A legend below the axis, where no line is."""
    grid: Any = axes.get_gridspec()
    anchor = (0.5, -0.46 / grid.figure.get_figheight() * grid.nrows - 0.09)
    axes.legend(loc="upper center", bbox_to_anchor=anchor, ncols=columns, columnspacing=1.0)


def _thin(axis: Any, most: int) -> None:
    locator = axis.get_major_locator()
    if isinstance(locator, MaxNLocator):  # the default's base class; places that are given stay
        locator.set_params(nbins=most)


def caption(figure: Figure, words: str) -> None:
    """State the setting below the panels, and thin the tick labels above it."""
    for axes in figure.axes:
        tidy(axes)
    lines = textwrap.wrap(words, int(CHARACTERS * figure.get_figwidth()))
    figure.set_figheight(figure.get_figheight() + LINE * len(lines))
    figure.supxlabel("\n".join(lines), fontsize=7, color="#444444", x=0.01, ha="left")


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write stem.png (200 dpi) and stem.pdf, which carry the caption.

    Parameters
    ----------
    figure : Figure
    stem : Path
        Folder and name without suffix; the folder must exist.

    Returns
    -------
    list of Path
        The two files.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> [file.name for file in save(Figure(), Path(mkdtemp(), "empty"))]
    ['empty.png', 'empty.pdf']
    """
    words = " ".join(figure.get_supxlabel().split())
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the layout is found once, not for each file
    files = [stem.with_suffix(suffix) for suffix in (".png", ".pdf")]
    for file in files:
        about = {"Description": words} if file.suffix == ".png" else {"Subject": words}
        metadata = about if file.suffix == ".png" else {"CreationDate": None, **about}
        figure.savefig(file, dpi=200, metadata=metadata)
    return files
