"""What was asked of a GPU, what was measured, and whether the one meets the other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.gpu.sitting import read
from gpu_bench.report.statistics import interval
from gpu_bench.sparsities import nearest
from mirrorflow.results import Row

if TYPE_CHECKING:
    import pandas

__all__ = ["Bar", "bars", "ranking"]

RIVALS = ("spred", "lasso", "str")
SPARSE = (0.9, 0.95, 0.98)


class Bar(NamedTuple):
    """One promise; `holds` is None where it could not be measured."""

    name: str
    asked: str
    measured: str
    holds: bool | None


def bars(out: Path, tuned: pandas.DataFrame | None, paper: pandas.DataFrame | None) -> list[Bar]:
    """Return what the sittings say of each bar, as far as they came.

    Parameters
    ----------
    out : Path
        Where the stages are.
    tuned, paper : DataFrame, optional
        The rows of those parts of the grid.
    """
    found: list[Bar] = []
    speed, shared = _result(out, "speed"), _result(out, "concurrency")
    if speed:
        seconds, ratio, waits = speed["epoch_seconds"], speed["ratios"]["pilot"], speed["waits"]
        for name, value in seconds.items():
            found.append(
                _most(f"epoch of {name}, evaluation included ({speed['mode']})", value, 0.4)
            )
        found.append(_most("m ⊙ w (pilot) against dense, per step", ratio, 1.1, "×"))
        count = len(waits)
        found.append(Bar("waits for the device per epoch", "1", str(count), count == 1))
    if shared:
        best = shared["best"]
        name = f"an epoch of one of {best['runs']} runs at once ({best['way']})"
        found.append(_most(name, best["seconds_per_run_epoch"], 0.15))
    for stage, key, words in (
        ("deterministic", "same", "--deterministic: the same bits twice"),
        ("memory", "named", "full memory: the message names the batch size"),
    ):
        result = _result(out, stage)
        if result:
            answer = {True: "yes", False: "no", None: "not measured"}[result[key]]
            found.append(Bar(words, "yes", answer, result[key]))
    if tuned is not None and tuned["dataset"].iloc[0] == "cifar10":
        found.append(_minutes(tuned, shared["best"]["runs"] if shared else 1))
    if paper is not None and paper["dataset"].iloc[0] == "cifar10":
        found.append(_dense(paper))
    return found


def ranking(tuned: pandas.DataFrame) -> list[Row]:
    """Return accuracy of PILoT minus that of each rival, seed by seed, where most is cut.

    Each row: `rival`, `sparsity`, `mean` and `half` (95 % interval over the seeds that both have,
    in accuracy), `verdict`: "above" or "below" where the interval leaves 0 out.
    """
    rows = []
    good = tuned[tuned["status"] == "completed"]
    for wanted in SPARSE:
        level = nearest(good["sparsity"].unique(), wanted)
        there = good[good["sparsity"] == level].pivot(
            index="seed", columns="method", values="accuracy"
        )
        for rival in RIVALS:
            if not {"pilot", rival} <= set(there.columns):
                continue
            mean, half = interval(there["pilot"] - there[rival])
            clear = not math.isnan(half) and abs(mean) > half
            verdict = ("above" if mean > 0 else "below") if clear else "not separated"
            rows.append(
                {"rival": rival, "sparsity": level, "mean": mean, "half": half, "verdict": verdict}
            )
    return rows


def _minutes(tuned: pandas.DataFrame, at_once: int) -> Bar:
    runs = tuned.drop_duplicates("key")
    minutes = float(runs["wall_seconds"].sum()) / at_once / 60.0
    name = f"{runs['method'].nunique()} methods × {runs['seed'].nunique()} seeds × "
    name += f"{runs['epochs'].iloc[0]} epochs, minutes"
    return Bar(name, "≤ 25", f"{minutes:.1f}", minutes <= 25.0)


def _dense(paper: pandas.DataFrame) -> Bar:
    """The plain network, at settings that were not chosen for what is left of it when cut."""
    runs = paper[paper["method"] == "dense"].drop_duplicates("key")
    accuracy = float(runs["last_accuracy"].mean())
    holds = None if math.isnan(accuracy) else accuracy >= 0.913
    name = f"dense accuracy after {paper['epochs'].iloc[0]} epochs"
    return Bar(name, "≥ 91.3 %", f"{100 * accuracy:.2f} %", holds)


def _most(name: str, value: float, bound: float, unit: str = " s") -> Bar:
    return Bar(name, f"≤ {bound:g}{unit}", f"{value:.3f}{unit}", value <= bound)


def _result(out: Path, stage: str) -> Row | None:
    found = read(out, stage)
    return found["result"] if found and found["status"] == "complete" else None
