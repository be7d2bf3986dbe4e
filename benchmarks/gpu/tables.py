"""Tables in Markdown of what the sessions left, and docs/gpu.md with them at its end."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas
from rich.console import Console

from benchmarks import vision
from benchmarks.gpu.session import read
from gpu_bench import report
from gpu_bench.report.statistics import interval, percent
from mirrorflow.checks import InputError
from mirrorflow.runs.store import Row, atomic_write, load, load_paths, split

__all__ = ["check_publishable", "publish", "ranking", "write"]

HEADING = "\n## Measured\n"
WIDTH = 110  # characters of printed tables


def write(out: Path) -> tuple[str, list[Path]]:
    """Write OUT/report.md and figures; returns its text and the figures.

    Raises
    ------
    InputError
        If nothing has been measured.
    """
    sections, drawn = _measured(out), []
    for part, frame in _rows(out).items():
        console = Console(file=io.StringIO(), width=WIDTH)
        report.print_table(console, frame)
        printed = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        sections[part] = "\n".join(["```", *(line.rstrip() for line in printed), "```"])
        if part == "tuned":
            sections["tuned: PILoT minus each other method, seed by seed"] = ranking(frame)
            drawn = report.figures(out, frame, load_paths(out / part / "paths.npz"))
    if not sections:
        raise InputError(f"--out must hold what a session left, but {out} holds nothing of one.")
    text = "\n".join(f"### {title}\n\n{body.strip()}\n" for title, body in sections.items())
    atomic_write(out / "report.md", text.encode())
    return text, drawn


def _rows(out: Path) -> dict[str, pandas.DataFrame]:
    """Return the rows of each part of the grid that has some."""
    folders = [file.parent for file in sorted(out.glob("*/manifest.json"))]
    frames = {folder.name: split(load(folder))[0] for folder in folders}
    return {name: frame for name, frame in frames.items() if len(frame)}


def _measured(out: Path) -> dict[str, str]:
    """Return the sections about the device and the trainer on it."""
    saved = {file.stem: read(out, file.stem) for file in out.glob("*.json")}
    done = {name: s["result"] for name, s in saved.items() if s and s["status"] == "complete"}
    sections: dict[str, str] = {}
    if device := done.get("device"):
        about = saved["device"] or {}
        sections["device"] = (
            f"{about['asked']['device']}: {1e-12 * device['copy_rate']:.2f} TB/s copied on the "
            f"device (read plus written), {1e-12 * device['product_rate']:.3g} TFLOP/s in a "
            f"bfloat16 product; torch {about['environment']['packages'].get('torch')}."
        )
    for name in ("epochs", "methods"):
        if name in done:
            failure = done[name].get("failure")
            missing = f"\n\nThe compiled loop failed: {failure}" if failure else ""
            sections[name] = vision.table(done[name]["rows"]) + missing
    if rows := done.get("at-once", {}).get("rows"):
        cells = [(row["runs"], f"{row['images_per_second']:,.0f}") for row in rows]
        sections["at-once"] = _table(("processes", "training images/s, together"), cells)
    if "profile" in done:
        sections["profile"] = _step(done["profile"], device)
    if "same-bits" in done:
        differing = ", ".join(done["same-bits"]["differing"]) or "nothing"
        sections["same-bits"] = f"Two runs with `--deterministic` differ in {differing}."
    return sections


def _step(step: Row, device: Row | None) -> str:
    words = (
        f"pilot, {step['mode']}: {1e3 * step['step_seconds']:.2f} ms a step, "
        f"{1e3 * step['kernel_seconds']:.2f} ms in {step['kernel_count']:.0f} kernels; "
        f"{1e-9 * step['flops']:.1f} Gflop, and {1e-9 * step['bytes']:.2f} GB where no two "
        f"operators are fused."
    )
    if device:
        flops, moved = step["flops"] / device["product_rate"], step["bytes"] / device["copy_rate"]
        words += f" At the device's rates: {1e3 * flops:.2f} and {1e3 * moved:.2f} ms."
    cells = [
        (f"`{name.replace('|', '¦')}`", f"{calls:.1f}", f"{1e6 * seconds:.1f}")
        for name, calls, seconds in step["kernels"]
    ]
    return f"{words}\n\n{_table(('kernel', 'calls per step', 'µs per step'), cells)}"


def ranking(frame: pandas.DataFrame) -> str:
    """Return the table of PILoT's accuracy minus another method's, where ≥ 90 % are zeros.

    The difference is taken seed by seed, over the seeds that both have; PILoT is "above" or "below"
    where its 95 % interval leaves 0 out.
    """
    good = frame[(frame["status"] == "completed") & (frame["sparsity"] >= 0.9)]
    cells = []
    for level, there in good.groupby("sparsity"):
        accuracy = there.pivot(index="seed", columns="method", values="accuracy")
        for rival in accuracy.columns.drop("pilot") if "pilot" in accuracy else ():
            difference = accuracy["pilot"] - accuracy[rival]
            mean, half = interval(difference)
            verdict = "above" if mean > half else "below" if mean < -half else "not separated"
            cells.append((f"{100 * level:g} %", rival, percent(difference), verdict))
    return _table(("zeros", "method", "points ± 95 % interval", "PILoT is"), cells)


def _table(headings: Sequence[str], cells: Sequence[Sequence[object]]) -> str:
    lines = [headings, ["---"] * len(headings), *cells]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def check_publishable(out: Path) -> None:
    """Raise InputError unless all that is in `out` was measured on one GPU."""
    saved = [found for file in out.glob("*.json") if (found := read(out, file.stem))]
    devices = {found["asked"]["device"] for found in saved}
    devices |= {name for frame in _rows(out).values() for name in frame["device_name"]}
    if len(devices) != 1 or "CPU" in devices:
        listed = ", ".join(sorted(devices)) or "none"
        raise InputError(f"--publish needs results of one GPU, but {out} has those of: {listed}.")


def publish(out: Path, text: str, figures: Sequence[Path], root: Path) -> None:
    """Put the tables at the end of docs/gpu.md; figures, rows and stages into figures/gpu/."""
    target, page = root / "figures" / "gpu", root / "docs" / "gpu.md"
    target.mkdir(parents=True, exist_ok=True)
    for file in (*figures, *out.glob("*.json")):
        shutil.copy(file, target / file.name)
    for file in out.glob("*/rows.parquet"):
        shutil.copy(file, target / f"{file.parent.name}_rows.parquet")
    drawn = [f"![{f.stem}](../figures/gpu/{f.name})\n" for f in figures if f.suffix == ".png"]
    before = page.read_text(encoding="utf-8").partition(HEADING)[0].rstrip()
    atomic_write(page, "\n".join([before, HEADING, text, *drawn]).encode())
