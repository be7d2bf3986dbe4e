"""Tables of the rows in Markdown, and docs/performance.md filled with them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas

from benchmarks.growth import exponents
from benchmarks.machine import bound
from benchmarks.measure import SPREAD
from mirrorflow.checks import InputError
from mirrorflow.runs.store import atomic_write

__all__ = ["FIGURES", "ROWS", "fill", "markdown", "publish", "tables", "three"]

ROWS = "benchmark_rows.parquet"
FIGURES = ("benchmark_rivals", "benchmark_growth")


def tables(rows: pandas.DataFrame) -> dict[str, str]:
    """A Markdown table (or sentence) for each section of the page that shows numbers."""
    sections = {"setting": _setting(rows)}
    for case in ("flows", "stiff", "limits", "l1"):
        sections[case] = _rivals(rows[rows["case"] == case])
    sections["bound"] = _bounds(rows)
    sections["growth"] = _growth(rows)
    sections["large"] = _large(rows[rows["group"] == "large"])
    return sections


def fill(page: str, sections: Mapping[str, str]) -> str:
    """The page with each section between `<!-- begin NAME -->` and `<!-- end NAME -->` replaced.

    Raises
    ------
    InputError
        If a pair of markers is missing.
    """
    for name, text in sections.items():
        pattern = rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)"
        page, count = re.subn(
            pattern, lambda match, text=text: f"{match[1]}{text}\n{match[2]}", page, flags=re.DOTALL
        )
        if count != 1:
            raise InputError(
                f"the page must hold one pair of markers 'begin {name}' and 'end {name}', "
                f"but it holds {count}."
            )
    return page


def publish(rows: pandas.DataFrame, folder: Path, root: Path) -> None:
    """Fill docs/performance.md, and put its figures and rows into figures/."""
    page = root / "docs" / "performance.md"
    text = fill(page.read_text(encoding="utf-8"), tables(rows))
    atomic_write(page, text.encode())
    for name in FIGURES:
        for suffix in (".png", ".pdf"):
            shutil.copy(folder / f"{name}{suffix}", root / "figures" / f"{name}{suffix}")
    shutil.copy(folder / "rows.parquet", root / "figures" / ROWS)


def markdown(header: str, lines: Sequence[Sequence[str]]) -> str:
    """A table: its headings with | between them, and its rows of cells; numbers on the right."""
    names = [name.strip() for name in header.split("|")]
    rule = "|".join("---" if i == 0 else "--:" for i in range(len(names)))
    rows = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([f"| {' | '.join(names)} |", f"|{rule}|", *rows])


def three(row: pandas.Series, what: str, digits: int, unit: float = 1.0) -> str:
    """Median [least, most] with that many digits behind the point."""
    least, middle, most = (f"{unit * row[f'{part}_{what}']:,.{digits}f}" for part in SPREAD)
    return f"{middle} [{least}, {most}]"


def _number(value: float, digits: int = 3) -> str:
    """`value` with that many digits, in plain notation where it is short."""
    if not np.isfinite(value):
        return "–"
    if value >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if value >= 1e-3 or value == 0 else f"{value:.1e}"


def _spread(row: pandas.Series, what: str, unit: float = 1.0) -> str:
    least, middle, most = (_number(unit * row[f"{part}_{what}"]) for part in SPREAD)
    return f"{middle} [{least}, {most}]" if middle != "–" else "–"


def _small(value: float) -> str:
    return f"{value:.1e}" if np.isfinite(value) else "–"


def _get(row: pandas.Series, name: str) -> float:
    value = row.get(name, np.nan)
    return float("nan") if pandas.isna(value) else float(value)


def _setting(rows: pandas.DataFrame) -> str:
    one = rows.iloc[0]
    words = (
        f"{one['processor']}, {one['threads']} thread(s) for everybody; {one['versions']}. "
        f"{one['repetitions']} interleaved repetitions: median [least, most]."
    )
    if one["scale"] == "quick":
        words = f"**A trial at toy size (`--quick`): the figures mean nothing.** {words}"
    machine = rows[rows["case"] == "machine"]
    if machine.empty:
        return words
    rate = machine.iloc[0]
    n, d = rate["n"], rate["d"]
    names = ("gemm_rate", "peak_rate", "cholesky_rate", "copy_rate")
    batch, peak, cholesky, memory = (_number(rate[name] / 1e9) for name in names)
    powers = _number(rate["exp_rate"] / 1e6)
    return (
        f"{words}\n\nMeasured rates: {batch} GFlop/s for (128, {n})·({n}, {d}), {peak} GFlop/s for "
        f"1024³, {powers} million exponentials a second, {cholesky} GFlop/s in Cholesky "
        f"factorizations of {n}×{n}, {memory} GB/s of memory read and written."
    )


def _rivals(rows: pandas.DataFrame) -> str:
    if rows.empty:
        return "Not measured."
    quality = [name for name in ("residual", "gap") if name in rows and rows[name].notna().any()]
    lines, absent = [], []
    for _, row in rows.iterrows():
        if row["status"] in ("left out", "failed"):
            absent.append(f"{row['entry']} ({row['status']}: {row['message']})")
            continue
        remarks = [row["message"]] if row["message"] else []
        if np.isfinite(_get(row, "solver_seconds")):
            remarks.append(f"{_number(1e3 * row['solver_seconds'])} ms in the solver itself")
        if np.isfinite(_get(row, "right_hand_sides")):
            remarks.append(f"{_number(row['right_hand_sides'])} right-hand sides")
        if np.isfinite(_get(row, "factorizations")):
            remarks.append(f"{_number(row['factorizations'])} factorizations")
        if row["entry"].startswith("diffrax"):
            remarks.append(f"compiled in {_number(_compilation(row))} s, not counted")
        lines.append(
            (
                row["entry"],
                _number(row["runs"], 6),
                _spread(row, "seconds", 1e3),
                _spread(row, "ratio"),
                _small(_get(row, "error")),
                *(_small(_get(row, name)) for name in quality),
                "; ".join(remarks),
            )
        )
    named = "".join(f"| {'max abs(Zx − y)' if name == 'residual' else name} " for name in quality)
    header = f"who | a call | ms each | time / ours | error {named}| remarks"
    text = markdown(header, lines)
    uncertain = rows["reference_error"].dropna() if "reference_error" in rows else []
    if len(uncertain):
        text += f"\n\nThe reference itself is known to {_small(uncertain.iloc[0])}."
    return text + (f"\n\nNot in the table: {'; '.join(absent)}." if absent else "")


def _compilation(row: pandas.Series) -> float:
    """First call less a later one."""
    return max(row["first_call_seconds"] - row["median_seconds"] * row["runs"], 0.0)


def _bounds(rows: pandas.DataFrame) -> str:
    """Least time for the counted work beside the measured time, for this toolkit's entries."""
    machine = rows[rows["case"] == "machine"]
    if machine.empty:
        return "Not measured."
    rates, lines = machine.iloc[0].to_dict(), []
    for _, row in rows[rows["status"] == "measured"].iterrows():
        sides, factors = _get(row, "right_hand_sides"), _get(row, "factorizations")
        if row["group"] == "growth" or not (sides > 0 or factors > 0):
            continue
        if "sparse" in row["case"]:  # n·d is not its work
            continue
        counts = [0.0 if np.isnan(count) else count for count in (sides, factors)]
        least = bound(int(row["n"]), int(row["d"]), counts[0], counts[1], rates)
        lines.append(
            (
                f"{row['case']}: {row['entry']}",
                _number(counts[0]),
                _number(counts[1]),
                _number(1e3 * least),
                _number(1e3 * row["median_seconds"]),
                f"{_number(row['median_seconds'] / least)}×",
            )
        )
    header = "case | right-hand sides | factorizations | least ms | measured ms | distance"
    return markdown(header, lines)


def _growth(rows: pandas.DataFrame) -> str:
    fitted = exponents(rows)
    if fitted.empty:
        return "Not measured."
    lines = [
        (
            f"{row['kind']}: {row['entry']}",
            row["axis"],
            str(row["points"]),
            _slope(row["exponent"], row["error"]),
            _slope(row["per_work"], row["per_work_error"]),
            row["unit"].replace("_", "-").replace("right-hand-", "right-hand "),
        )
        for _, row in fitted.iterrows()
    ]
    header = "who | grows | points | exponent of the time a run | of the time a unit of work | unit"
    return markdown(header, lines)


def _slope(value: float, error: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{value:.2f}" + ("" if np.isnan(error) else f" ± {error:.2f}")


def _large(rows: pandas.DataFrame) -> str:
    if rows.empty:
        return "Not measured."
    lines = []
    for _, row in rows.iterrows():
        name = f"{row['case']}, {row['n']}×{row['d']:,}: {row['entry']}"
        if row["status"] != "measured":
            lines.append((name, row["message"], "–", "–", "–"))
            continue
        lines.append(
            (
                name,
                _spread(row, "seconds"),
                f"{row['peak_bytes'] / row['z_bytes']:.2f}",
                _small(_get(row, "residual")),
                _number(_get(row, "factorizations")),
            )
        )
    header = "stage | seconds | peak memory so far / Z | max abs(Zx − y) | factorizations"
    return markdown(header, lines)
