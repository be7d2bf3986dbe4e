"""What the rows of a grid say: a table beside the published numbers, and figures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mirrorflow.checks import Array

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes

__all__ = ["figures", "interval", "print_table", "shown"]

SHOWN = (0.8, 0.9, 0.95, 0.98)
# Top-1 in percent at the sparsities of SHOWN (None: not published), and the setting's words.
# ResNet-50: the paper's table (90 epochs; STR re-run by the same group); CIFAR-10 ResNet-20:
# 200 epochs, batch 128, dense without a cut.
PUBLISHED: dict[tuple[str, str], dict[str, tuple[float | None, ...]]] = {
    ("imagenet", "resnet50"): {
        "pilot": (75.62, 74.73, 71.30, None),
        "spred": (72.64, 71.84, 69.47, None),
        "str": (75.49, 72.40, 64.94, None),
    },
    ("cifar10", "resnet20"): {
        "random masks": (88.25, 86.25, 83.56, None),
    },
}
UNCUT = {("imagenet", "resnet50"): "76.7–77.0", ("cifar10", "resnet20"): "91.73"}

LOOKS: dict[str, tuple[str, Any, str]] = {  # Okabe and Ito's colours
    "dense": ("#000000", "-", "o"),
    "pilot": ("#D55E00", "-", "s"),
    "spred": ("#0072B2", "--", "D"),
    "lasso": ("#009E73", "-.", "^"),
    "mask-l1": ("#CC79A7", (0, (5, 1, 1, 1, 1, 1)), "v"),
    "str": ("#56B4E9", (0, (3, 1, 1, 1)), "P"),
    "powerprop": ("#E69F00", (0, (6, 2)), "*"),
    "continuous": ("#7F7F7F", ":", "X"),
}


def interval(values: Any) -> tuple[float, float]:
    """Return mean and half the width of its 95 % confidence interval (t distribution).

    The half width is NaN for fewer than two finite values.
    """
    from scipy.stats import t

    kept = np.asarray(values, dtype=float)
    kept = kept[np.isfinite(kept)]
    if len(kept) == 0:
        return math.nan, math.nan
    if len(kept) == 1:
        return float(kept[0]), math.nan
    error = float(kept.std(ddof=1)) / math.sqrt(len(kept))
    return float(kept.mean()), float(t.ppf(0.975, len(kept) - 1)) * error


def shown(frame: pandas.DataFrame) -> list[float]:
    """Return the sparsities in the rows that are next to those of the table."""
    there = sorted(frame["sparsity"].unique())
    nearest = (min(there, key=lambda s: abs(s - wanted)) for wanted in SHOWN)
    return list(dict.fromkeys(nearest))


def print_table(console: Console, frame: pandas.DataFrame) -> None:
    """Print accuracy in percent, mean ± 95 % confidence interval, per method and sparsity."""
    sparsities = shown(frame)
    first = frame.iloc[0]
    where = "validation" if first["validation"] else "test"
    table = Table(
        title=f"{first['dataset']}, {first['model']}, {first['epochs']} epochs: {where} accuracy "
        f"in % at each sparsity\nmean ± 95 % confidence interval over seeds, last epoch",
        title_justify="left",
    )
    for i, heading in enumerate(("method", "seeds", "A", "uncut")):
        table.add_column(heading, justify="left" if i == 0 else "right", no_wrap=True)
    for sparsity in sparsities:
        table.add_column(f"{100 * sparsity:.1f} %", justify="right", no_wrap=True)
    for method, rows in frame.groupby("method", sort=False):
        good = rows[rows["status"] == "completed"]
        per_run = good.drop_duplicates("key")
        cells = [_cell(good.loc[good["sparsity"] == s, "accuracy"]) for s in sparsities]
        total = (
            "" if per_run["total_spent"].isna().all() else f"{per_run['total_spent'].mean():.2f}"
        )
        seeds = str(len(per_run))
        diverged = rows["key"].nunique() - len(per_run)
        if diverged:
            seeds += f" (+{diverged} diverged)"
        table.add_row(str(method), seeds, total, _cell(per_run["uncut_accuracy"]), *cells)
    _add_published(table, first, sparsities)
    console.print(table)


def _cell(values: Any) -> str:
    mean, half = interval(values)
    if math.isnan(mean):
        return "–"
    return f"{100 * mean:.2f}" + ("" if math.isnan(half) else f" ± {100 * half:.2f}")


def _add_published(table: Table, first: Any, sparsities: list[float]) -> None:
    setting = (first["dataset"], first["model"])
    if setting not in UNCUT:
        return
    table.add_section()
    table.add_row("published: dense", "", "", UNCUT[setting], *[""] * len(sparsities))
    for method, values in PUBLISHED[setting].items():
        cells = []
        for sparsity in sparsities:
            # the nearest of the published sparsities, where it is near
            gap, place = min((abs(sparsity - s), i) for i, s in enumerate(SHOWN))
            value = values[place] if gap < 0.012 else None
            cells.append("–" if value is None else f"{value:.2f} at {100 * SHOWN[place]:.0f} %")
        table.add_row(f"published: {method}", "", "", "", *cells)


def figures(out: Path, frame: pandas.DataFrame, paths: dict[str, Array]) -> list[Path]:
    """Draw accuracy.*, epochs.* and layers.* into `out`; returns the files."""
    from mirrorflow.plots.style import save

    good = frame[frame["status"] == "completed"]
    if good.empty:
        return []
    drawings = {
        "accuracy": _accuracy(good),
        "epochs": _epochs(good, paths),
        "layers": _layers(good, paths),
    }
    return [file for name, drawing in drawings.items() for file in save(drawing, out / name)]


def _accuracy(frame: pandas.DataFrame) -> Any:
    import matplotlib
    from matplotlib.figure import Figure

    from mirrorflow.plots.style import STYLE, caption

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for method, rows in frame.groupby("method", sort=False):
            grouped = [(s, *interval(part["accuracy"])) for s, part in rows.groupby("sparsity")]
            s, mean, half = (np.array(column) for column in zip(*grouped, strict=True))
            colour, dashes, marker = LOOKS[str(method)]
            kept = 100.0 * (1.0 - s)
            axes.plot(
                kept, 100 * mean, color=colour, ls=dashes, marker=marker, ms=3.5, label=method
            )
            band = np.nan_to_num(half)
            low, high = 100 * (mean - band), 100 * np.minimum(mean + band, 1.0)
            axes.fill_between(kept, low, high, color=colour, alpha=0.15, lw=0)
        axes.set(xscale="log", xlabel="weights kept (%)", ylabel="accuracy (%)", ylim=(0, 101))
        axes.invert_xaxis()
        axes.xaxis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g"))
        axes.set_title("accuracy after one cut of the smallest weights", loc="left")
        axes.legend()
        caption(figure, _setting(frame) + " Bands: 95 % confidence interval over seeds.")
    return figure


def _epochs(frame: pandas.DataFrame, paths: dict[str, Array]) -> Any:
    import matplotlib
    from matplotlib.figure import Figure

    from mirrorflow.plots.style import STYLE, caption

    panels = {
        "alpha": ("penalty α", "α (per unit of flow time)"),
        "total": ("total A = Σηα/(1 − momentum)", "A (no unit)"),
        "norm": ("norm of the prunable weights", "‖x‖₁ (units of x)"),
        "test_accuracy": ("accuracy, uncut", "accuracy (%)"),
    }
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(panels), 3.8), layout="constrained")
        for axes, (name, (title, label)) in zip(
            figure.subplots(1, len(panels)), panels.items(), strict=True
        ):
            for method, rows in frame.drop_duplicates("key").groupby("method", sort=False):
                if name in ("alpha", "total") and rows["alpha_first"].isna().all():
                    continue
                scale = 100.0 if name == "test_accuracy" else 1.0
                curves = np.stack([scale * paths[f"{key}/{name}"] for key in rows["key"]])
                _band(axes, curves, str(method))
            axes.set(xlabel="epoch", ylabel=label)
            axes.set_title(title, loc="left")
            if name == "norm":
                axes.set_yscale("log")
            if axes.lines:
                axes.legend()
        caption(figure, _setting(frame) + " Lines: mean over seeds; bands: lowest to highest.")
    return figure


def _band(axes: Axes, curves: Array, method: str) -> None:
    colour, dashes, _ = LOOKS[method]
    epochs = np.arange(1, curves.shape[1] + 1)
    axes.plot(epochs, curves.mean(0), color=colour, ls=dashes, label=method)
    axes.fill_between(epochs, curves.min(0), curves.max(0), color=colour, alpha=0.15, lw=0)


def _layers(frame: pandas.DataFrame, paths: dict[str, Array]) -> Any:
    import matplotlib
    from matplotlib.figure import Figure

    from mirrorflow.plots.style import STYLE, caption

    sparsities = sorted(frame["sparsity"].unique())
    wanted = shown(frame)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.6 * len(wanted), 3.8), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, len(wanted), sharey=True))
        for axes, sparsity in zip(panels, wanted, strict=True):
            place = sparsities.index(sparsity)
            for method, rows in frame.drop_duplicates("key").groupby("method", sort=False):
                colour, dashes, marker = LOOKS[str(method)]
                density = np.mean([paths[f"{k}/layer_density"][place] for k in rows["key"]], 0)
                layer = np.arange(1, len(density) + 1)
                axes.plot(
                    layer, 100 * density, color=colour, ls=dashes, marker=marker, ms=3, label=method
                )
            axes.set(xlabel="layer, from input to classifier", yscale="log")
            axes.set_title(f"{100 * sparsity:.1f} % zeros", loc="left")
        panels[0].set_ylabel("weights kept in the layer (%)")
        panels[0].legend()
        caption(figure, _setting(frame) + " Mean over seeds; a layer without weights is not drawn.")
    return figure


def _setting(frame: pandas.DataFrame) -> str:
    first = frame.iloc[0]
    seeds = frame.groupby("method")["key"].nunique().max()
    where = f"held-out {first['validation']:g} of training" if first["validation"] else "test"
    return (
        f"{first['dataset']}, {first['model']} ({first['prunable_weights']:,} prunable weights), "
        f"{first['epochs']} epochs, batch {first['batch_size']}, {first['schedule']} schedule, "
        f"{seeds} seeds, {where} images, {first['device_name']}."
    )
