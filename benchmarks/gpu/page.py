"""Tables in Markdown and figures of what the sittings left, and docs/gpu.md filled with them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks.gpu import drawings
from benchmarks.gpu.sitting import read
from benchmarks.gpu.verdicts import bars, ranking
from benchmarks.page import fill
from gpu_bench.report import comparison, gathered, one_shot
from gpu_bench.report.published import POINTS, UNCUT
from gpu_bench.report.statistics import counted, percent
from gpu_bench.sparsities import SHOWN, near, nearest
from mirrorflow.checks import InputError
from mirrorflow.results import atomic_write, load, load_paths, split

if TYPE_CHECKING:
    import pandas

__all__ = ["check_publishable", "figures", "publish", "rows", "sections", "text", "write"]

VERDICTS = {True: "yes", False: "**no**", None: "not measured"}
LONGEST = 10  # kernels of the table
COMPARED = ("tuned", "lrr", "cyclic", "sculpt")  # on one data set and model
NOTHING = "Nothing measured yet."


def rows(out: Path, part: str) -> pandas.DataFrame | None:
    """Return the rows of a part of the grid; None where it has none."""
    if not (out / part / "manifest.json").is_file():
        return None
    frame, _ = split(load(out / part))
    return frame if len(frame) else None


def sections(out: Path) -> dict[str, str]:
    """Return a table or a sentence for each section of the page that shows numbers."""
    tuned, balanced, paper = (rows(out, part) for part in ("tuned", "balanced", "paper"))
    parts = {"": tuned, "pilot, balanced start": balanced}
    return {
        "device": _device(out),
        "bars": _bars(out, tuned, paper),
        "concurrency": _concurrency(out),
        "hot-spots": _hot_spots(out),
        "accuracy": NOTHING if tuned is None else _accuracy(parts),
        "ranking": NOTHING if tuned is None else _ranking(tuned),
        "paper": _accuracy({"": paper}),
        "protocols": _protocols(out),
        "resnet18": _accuracy({"": rows(out, "resnet18")}),
    }


def text(sections: Mapping[str, str]) -> str:
    """Return all sections one after the other."""
    return "\n".join(f"## {name}\n\n{body}\n" for name, body in sections.items())


def write(out: Path, sections: Mapping[str, str]) -> None:
    """Write OUT/report.md."""
    atomic_write(out / "report.md", text(sections).encode())


def figures(out: Path) -> list[Path]:
    """Draw what there is to draw into OUT; returns the files."""
    from mirrorflow.plots.style import save

    drawn: list[Path] = []
    tuned, totals = rows(out, "tuned"), rows(out, "totals")
    if tuned is not None:
        drawn += one_shot.figures(out, tuned, load_paths(out / "tuned" / "paths.npz"))
    if compared := _compared(out):
        frame = gathered.gather(compared)
        drawn += comparison.figures(out, frame, gathered.targets(frame))
    if totals is not None:
        drawn += save(drawings.totals(totals), out / "totals")
    shared = read(out, "concurrency")
    if shared is not None and shared["status"] == "complete":
        device = shared["asked"]["device"]
        drawn += save(drawings.concurrency(shared["result"], device), out / "concurrency")
    return drawn


def check_publishable(out: Path) -> None:
    """Raise InputError unless all that is in OUT is of CUDA and of one data set."""
    asked = [found["asked"] for file in out.glob("*.json") if (found := read(out, file.stem))]
    measured = [one for one in asked if "device" in one]
    frames = [rows(out, folder.parent.name) for folder in out.glob("*/manifest.json")]
    runs = [row for f in frames if f is not None for row in f[["device", "dataset"]].to_numpy()]
    devices = {one["device"] for one in measured} | {device for device, _ in runs}
    if not measured or any(device.lower() == "cpu" for device in devices):
        said = ", ".join(sorted(devices)) or "no device at all"
        raise InputError(f"--publish needs a sitting on CUDA alone, but {out} has one on {said}.")
    datasets = {one["dataset"] for one in measured} | {dataset for _, dataset in runs}
    if len(datasets) > 1:
        said = ", ".join(sorted(datasets))
        raise InputError(f"--publish needs a sitting on one data set, but {out} has {said}.")


def publish(out: Path, sections: Mapping[str, str], drawn: Sequence[Path], root: Path) -> None:
    """Fill docs/gpu.md; put figures, rows and the stages' results into figures/gpu/."""
    page = root / "docs" / "gpu.md"
    atomic_write(page, fill(page.read_text(encoding="utf-8"), sections).encode())
    target = root / "figures" / "gpu"
    target.mkdir(parents=True, exist_ok=True)
    for file in (*drawn, *out.glob("*.json")):
        shutil.copy(file, target / file.name)
    for file in out.glob("*/rows.parquet"):
        shutil.copy(file, target / f"{file.parent.name}_rows.parquet")


def _device(out: Path) -> str:
    found = read(out, "device")
    if found is None or found["status"] != "complete":
        return NOTHING
    result, about = found["result"], found["environment"]
    return (
        f"{result['device']}: {1e-12 * result['copy_rate']:.2f} TB/s copied on the device (read "
        f"plus written), {1e-12 * result['product_rate']:.0f} TFLOP/s in a bfloat16 product of "
        f"random matrices; torch {about['packages'].get('torch')}, Python {about['python']}."
    )


def _bars(out: Path, tuned: pandas.DataFrame | None, paper: pandas.DataFrame | None) -> str:
    found = bars(out, tuned, paper)
    if not found:
        return NOTHING
    lines = ["| | asked | measured | met |", "|---|--:|--:|---|"]
    lines += [
        f"| {bar.name} | {bar.asked} | {bar.measured} | {VERDICTS[bar.holds]} |" for bar in found
    ]
    return "\n".join(lines)


def _concurrency(out: Path) -> str:
    found = read(out, "concurrency")
    if found is None or found["status"] != "complete":
        return NOTHING
    lines = ["| runs at once | as | s per epoch and run | images/s together |", "|--:|---|--:|--:|"]
    for row in found["result"]["rows"]:
        cells = ["failed", "–"]
        if row["failure"] is None:
            cells = [f"{row['seconds_per_run_epoch']:.3f}", f"{row['images_per_second']:,.0f}"]
        lines.append(f"| {row['runs']} | {row['way']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _hot_spots(out: Path) -> str:
    found = read(out, "hot-spots")
    if found is None or found["status"] != "complete":
        return NOTHING
    lines = ["| kernel | per step | µs per step | share |", "|---|--:|--:|--:|"]
    for kernel in found["result"]["kernels"][:LONGEST]:
        name = kernel["name"].replace("|", "\\|")
        lines.append(
            f"| `{name}` | {kernel['calls']:.1f} | {kernel['microseconds']:.1f} | "
            f"{100 * kernel['share']:.1f} % |"
        )
    return "\n".join(lines)


def _accuracy(parts: Mapping[str, pandas.DataFrame | None]) -> str:
    """Test accuracy in percent, mean ± 95 % interval over seeds, beside published numbers.

    Parts go by a name for all of their rows, or by the methods of the rows where it is empty.
    """
    there = {name: frame for name, frame in parts.items() if frame is not None}
    if not there:
        return NOTHING
    heads = [f"{100 * wanted:g} %" for wanted in SHOWN]
    lines = [
        f"| method | seeds | A | uncut | {' | '.join(heads)} |",
        "|---" + "|--:" * (3 + len(heads)) + "|",
    ]
    for name, frame in there.items():
        for method, own in frame.groupby("method", sort=False):
            lines.append(f"| {name or method} | {' | '.join(_readings(own))} |")
    first = next(iter(there.values())).iloc[0]
    place = (first["dataset"], first["model"])
    for name in dict.fromkeys(point.name for point in POINTS.get(place, ())):
        known = {point.sparsity: point.accuracy for point in POINTS[place] if point.name == name}
        cells = [known.get(wanted, "–") for wanted in SHOWN]
        lines.append(f"| published: {name} | | | {UNCUT[place]} | {' | '.join(cells)} |")
    runs = [frame.drop_duplicates("key")["wall_seconds"] for frame in there.values()]
    minutes = sum(float(seconds.sum()) for seconds in runs) / sum(map(len, runs)) / 60.0
    return "\n".join(
        [
            *lines,
            "",
            f"{first['dataset']}, {first['model']}, {first['epochs']} epochs, batch "
            f"{first['batch_size']}, on {first['device_name']}; {minutes:.1f} minutes per run.",
        ]
    )


def _readings(rows: pandas.DataFrame) -> list[str]:
    """Return the cells of one method: seeds, A, accuracy uncut and at each sparsity shown."""
    good = rows[rows["status"] == "completed"]
    runs = good.drop_duplicates("key")
    spent, levels = runs["total_spent"].mean(), rows["sparsity"].unique()
    cells = [counted(rows), "–" if spent != spent else f"{spent:.2f}"]
    cells.append(percent(runs["uncut_accuracy"]))
    for wanted in SHOWN:
        level = nearest(levels, wanted)
        there = good.loc[good["sparsity"] == level, "accuracy"]
        cells.append(percent(there) if near(level, wanted) else "–")
    return cells


def _protocols(out: Path) -> str:
    """The comparison of `gpu_bench.run report`, as it prints it."""
    found = _compared(out)
    if not found:
        return NOTHING
    frame = gathered.gather(found)
    console = Console(file=io.StringIO(), width=118)
    comparison.print_table(console, frame, gathered.targets(frame))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    return "```\n" + "\n".join(line.rstrip() for line in printed.splitlines()) + "\n```"


def _compared(out: Path) -> list[Path]:
    return [out / part for part in COMPARED if rows(out, part) is not None]


def _ranking(tuned: pandas.DataFrame) -> str:
    lines = [
        "| zeros | PILoT against | difference, points of accuracy | PILoT is |",
        "|--:|---|--:|---|",
    ]
    for row in ranking(tuned):
        half = "" if row["half"] != row["half"] else f" ± {100 * row['half']:.2f}"
        lines.append(
            f"| {100 * row['sparsity']:.4g} % | {row['rival']} | {100 * row['mean']:+.2f}{half} | "
            f"{row['verdict']} |"
        )
    return "\n".join(lines)
