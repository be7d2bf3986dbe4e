"""Figures of the rows: time against error of every entry, and time against size."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter

from benchmarks.growth import contestants
from benchmarks.measure import SPREAD
from mirrorflow.colours import BLACK, PALETTE, SOFT
from mirrorflow.plots.style import STYLE, caption, panels, save

__all__ = ["draw", "growth", "rivals"]

CASES = {"flows": "flow, not stiff", "stiff": "flow, stiff", "limits": "limit", "l1": "minimum L1"}
AXES = {"d": "features $d$", "n": "samples $n$", "runs": "runs in a call", "A": "total $A$"}
LIBRARIES = {
    "mirrorflow": (BLACK, "o"),
    "scipy": (PALETTE[1], "s"),
    "diffrax": (PALETTE[0], "D"),
    "torchdiffeq": (PALETTE[2], "^"),
    "torch": (PALETTE[4], "v"),
    "cvxpy": (PALETTE[3], "P"),
    "celer": (PALETTE[5], "X"),
    "scikit-learn": (SOFT, "*"),
}
OFFSETS = [(0, 6), (5, 3), (-5, 3), (5, -9), (-5, -9), (0, -12), (11, 3), (-11, 3), (11, -9)]


def draw(rows: pandas.DataFrame, folder: Path) -> list[Path]:
    """Write benchmark_rivals and benchmark_growth as PNG and PDF into `folder`."""
    return [
        *save(rivals(rows), folder / "benchmark_rivals"),
        *save(growth(rows), folder / "benchmark_growth"),
    ]


def rivals(rows: pandas.DataFrame) -> Figure:
    """A panel for each case, a letter for each entry; who it is, the caption says."""
    part = rows[rows["case"].isin(CASES) & rows["status"].eq("measured")]
    letters = dict(zip(part["entry"].unique(), string.ascii_letters, strict=False))
    with mpl.rc_context(STYLE):
        figure, grid = panels(len(CASES), "page", 2.3, across=2)
        for axes, (case, title) in zip(grid, CASES.items(), strict=True):
            for _, row in part[part["case"].eq(case)].iterrows():
                least, middle, most = (1e3 * row[f"{p}_seconds"] for p in SPREAD)
                bar, error = [[middle - least], [most - middle]], max(float(row["error"]), 1e-17)
                axes.errorbar([middle], [error], xerr=bar, ms=5, **_look(row["entry"]))
            axes.set(xscale="log", yscale="log", xlabel="milliseconds each")
            axes.set_ylabel("max $|x - \\mathrm{reference}|$")
            axes.set_title(title, loc="left")
            axes.margins(0.12)
        used = [name for name in LIBRARIES if name in set(part["entry"].map(_library))]
        keys = [Line2D([], [], label=name, **_look(name) | {"ls": "none"}) for name in used]
        if keys:
            figure.legend(handles=keys, loc="outside upper center", ncols=8, columnspacing=1.0)
        # a line of the caption breaks neither behind a letter nor within a product
        named = [f"{letter}\u00a0{entry}" for entry, letter in letters.items()]
        key = "; ".join(named).replace(" × ", "\u00a0×\u00a0")
        caption(
            figure,
            f"Time of a run (bars: least to most of {rows.iloc[0]['repetitions']} interleaved "
            "repetitions) and distance to the reference (units of x); lower left is better. Open "
            f"markers: in the coordinates (m, w). {_where(rows)} {key}.",
        )
        for axes, case in zip(grid, CASES, strict=True):
            _letter(axes, part[part["case"].eq(case)], letters)
    return figure


def growth(rows: pandas.DataFrame) -> Figure:
    """Time against d, n, runs in a call and A: flows above, limits below."""
    measured = contestants(rows)
    with mpl.rc_context(STYLE):
        figure, grid = panels(8, "page", 1.9, across=4, sharey="row")
        for kind, row in zip(("flow", "limit"), (grid[:4], grid[4:]), strict=True):
            part = measured[measured["case"].str.startswith(kind)]
            if part.empty:  # only other groups were measured
                continue
            for (axis, label), axes in zip(AXES.items(), row, strict=True):
                some = part[part["axis"].eq(axis)]
                for entry, own in some.sort_values("value").groupby("entry"):
                    least, middle, most = (1e3 * own[f"{p}_seconds"] for p in SPREAD)
                    bars = [middle - least, most - middle]
                    axes.errorbar(own["value"], middle, bars, ms=3, lw=1.1, **_look(str(entry)))
                axes.set(yscale="log", xlabel=label)
                if axis != "A":
                    axes.set_xscale("log")
                    axes.set_xticks(sorted(some["value"].unique()))
                    axes.xaxis.set_major_formatter("{x:g}")
                    axes.xaxis.set_minor_formatter(NullFormatter())
            row[0].set_ylabel(f"milliseconds a {kind}")
        keys = [
            Line2D([], [], ms=3, lw=1.1, label=name, **_look(name))
            for name in measured["entry"].unique()
        ]
        if keys:
            figure.legend(handles=keys, loc="outside upper center", ncols=3)
        caption(
            figure,
            "Median of interleaved repetitions, bars from least to most. Flows: without penalty to "
            "t = 40,000/d; against A to t = 1e4. Limits: A = 1 where it does not vary. "
            + _where(rows),
        )
    return figure


def _library(entry: str) -> str:
    first = re.split(r"[ ,/]", entry)[0]
    return "scipy" if first == "linprog" else first


def _look(entry: str) -> dict[str, Any]:
    """Colour and marker of a library, open and dashed in the coordinates (m, w)."""
    colour, marker = LIBRARIES[_library(entry)]
    look: dict[str, Any] = {"color": colour, "marker": marker}
    return look | ({"mfc": "none", "ls": "--"} if "(m, w)" in entry else {})


def _letter(axes: Axes, part: pandas.DataFrame, letters: dict[str, str]) -> None:
    """Each letter where it is farthest from points and from letters set before."""
    figure: Any = axes.figure
    figure.draw_without_rendering()
    errors = part["error"].astype(float).clip(lower=1e-17)
    points = np.column_stack([1e3 * part["median_seconds"], errors])
    at = axes.transData.transform(points) * 72 / figure.dpi if len(part) else points
    taken = list(at)
    for i, (point, entry) in enumerate(zip(points, part["entry"], strict=True)):
        others = np.array([*taken[:i], *taken[i + 1 :], (np.inf, np.inf)])
        gaps = [np.hypot(*(at[i] + offset + (0, 3) - others).T).min() for offset in OFFSETS]
        offset = OFFSETS[int(np.argmax(np.minimum(gaps, 8.0)))]  # a letter is some 8 from its point
        taken.append(at[i] + offset + (0, 3))
        look: Any = {"textcoords": "offset points", "ha": "center", "fontsize": 7}
        axes.annotate(letters[entry], point, offset, color=LIBRARIES[_library(entry)][0], **look)


def _where(rows: pandas.DataFrame) -> str:
    one = rows.iloc[0]
    trial = "Toy sizes. " if one["scale"] == "quick" else ""
    return f"{trial}{one['processor']}, {one['threads']} thread(s), float64."
