"""What the figures draw as one line: the runs of a method in one setup, their name and look."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from gpu_bench.methods import METHODS, Look

if TYPE_CHECKING:
    import pandas

__all__ = ["PROTOCOLS", "Line", "families", "given", "label", "lines", "setups"]


OTHERS = ("#F0E442", "#8C564B", "#1B9E77", "#7570B3")  # of methods that are not listed
DASHES = ["-", "--", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1, 1, 1)), (0, (6, 2)), ":"]
PROTOCOLS = ("one-shot", "iterative", "cyclic", "sculpt")
MASKS = {"random": "uniform", "erk": "ERK", "equal": "equal", "snip": "SNIP", "synflow": "SynFlow"}


class Line(NamedTuple):
    """The runs of one method in one setup.

    Attributes
    ----------
    name : str
        Of the setup; empty where all lines are of the same.
    method : str
    look : Look
    rows : DataFrame
    """

    name: str
    method: str
    look: Look
    rows: pandas.DataFrame

    @property
    def label(self) -> str:
        """What the legend says."""
        method = label(self.method)
        return f"{method}, {self.name}" if self.name else method


def label(method: str) -> str:
    """Return what a method is called in tables and figures."""
    return METHODS[method].label if method in METHODS else method


def lines(frame: pandas.DataFrame, names: Iterable[str] | None = None) -> list[Line]:
    """Return the lines of rows, in the order in which they come; `names` say each row's setup.

    The colour says the method; where there are several setups line style and marker say which,
    otherwise they repeat the method.
    """
    import pandas

    from mirrorflow.plots.style import MARKERS

    if names is None:
        names = [""] * len(frame)
    named = pandas.Series(list(names), index=frame.index, dtype=str)
    different = list(dict.fromkeys(named))
    styles = zip(different, itertools.cycle(DASHES), itertools.cycle(MARKERS), strict=False)
    looks = {name: (dashes, marker) for name, dashes, marker in styles}
    strange = [name for name in dict.fromkeys(frame["method"]) if name not in METHODS]
    others = zip(strange, itertools.cycle(OTHERS), itertools.cycle(MARKERS), strict=False)
    known = {name: kind.look for name, kind in METHODS.items()}
    known |= {name: Look(colour, "-", marker) for name, colour, marker in others}
    curves = []
    for key, rows in frame.groupby([named, "method"], sort=False):
        name, method = map(str, key)
        look = known[method]
        if len(different) > 1:
            look = Look(look.colour, *looks[name])
        curves.append(Line(name if len(different) > 1 else "", method, look, rows))
    return curves


def families(frame: pandas.DataFrame) -> list[str]:
    """Return each row's setup without its target: WR, cyclic with ERK masks, …"""
    return [_family(row) for row in frame.to_dict("records")]


def setups(frame: pandas.DataFrame) -> list[str]:
    """Return each row's setup: its family and, where it has one, the target sparsity."""
    return [_family(row) + _target(row) for row in frame.to_dict("records")]


def _family(row: dict[Any, Any]) -> str:
    if row["protocol"] == "one-shot":
        return "one-shot"
    if row["protocol"] == "iterative":
        return str(row["variant"]).upper()
    file = row["mask"] == "file"
    mask = f"mask file {row['mask_sha256'][:6]}" if file else MASKS[row["mask"]]
    if row["protocol"] == "cyclic":
        return f"cyclic, {mask}"
    start = row["start_sparsity"]  # None or NaN where a mask file has its own
    return f"SCULPT, {mask}" + (f" from {100 * start:g} %" if given(start) else "")


def _target(row: dict[Any, Any]) -> str:
    if row["protocol"] in ("one-shot", "iterative") or not given(row["target_sparsity"]):
        return ""
    return f"{' to' if row['protocol'] == 'sculpt' else ','} {100 * row['target_sparsity']:g} %"


def given(value: Any) -> bool:
    """Return whether a cell of a row holds something."""
    import pandas

    return not pandas.isna(value)
