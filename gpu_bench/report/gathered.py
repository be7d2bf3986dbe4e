"""Rows of several result folders, brought to one form so that protocols can be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from gpu_bench.report.lines import PROTOCOLS, families, given
from gpu_bench.sparsities import TABULATED, near, nearest
from mirrorflow.checks import InputError

if TYPE_CHECKING:
    import pandas

__all__ = ["at", "gather", "levels", "targets"]

# columns that differ within a line: lengths and targets are on the axes, starts in the name
ALONG = ("key", "seed", "cycles", "start_sparsity", "target_sparsity")
IMAGES = ("dataset", "model", "image_size", "validation", "validation_seed")


class _Source(NamedTuple):
    """A folder, its rows, and the columns that are configuration."""

    folder: Path
    rows: pandas.DataFrame
    configuration: list[str]


def gather(folders: Sequence[Path]) -> pandas.DataFrame:
    """Return the readings of result folders at the sparsities that were asked for.

    Returns
    -------
    DataFrame
        The rows of the folders, among them those of diverged runs, each reading once:

        folder            where it is from
        setup            family of the row and what else of the configuration differs within it
        sparsity          fraction of zeros
        accuracy          of one-shot sparsification at each sparsity; of iterative pruning and
                          cyclic training after each cycle; of SCULPT-ing after the last
        epochs_spent, training_flops
                          of all training up to there

    Raises
    ------
    InputError
        If a folder is missing or damaged, holds no runs of gpu_bench or no completed one, or if
        the folders are of different images or models.
    """
    import pandas

    sources = [_read(folder) for folder in dict.fromkeys(folders)]
    if not sources:
        raise InputError("FOLDER must name at least one result folder.")
    _check_same_images(sources)
    frame = pandas.concat([source.rows for source in sources], ignore_index=True)
    options = dict.fromkeys(name for source in sources for name in source.configuration)
    rank = {name: i for i, name in enumerate(PROTOCOLS)}
    frame = frame.sort_values("protocol", key=lambda names: names.map(rank), kind="stable")
    frame["setup"] = _setups(frame, [name for name in options if name not in ALONG])
    # a setup that another folder holds too, or goes on with, is the same training
    return frame.drop_duplicates(["setup", "method", "seed", "sparsity", "epochs_spent", "status"])


def _read(folder: Path) -> _Source:
    from mirrorflow.runs.store import load, split

    if not folder.is_dir():
        raise InputError(f"FOLDER must be a result folder, but {folder} is none.")
    rows, _ = split(load(folder))
    if rows.empty:
        raise InputError(f"FOLDER must hold finished runs, but {folder} has no rows.")
    names = list(rows.columns)
    if not {"protocol", "method", "status", "sparsity"} <= set(names):
        raise InputError(f"FOLDER must hold runs of gpu_bench, but {folder} holds other rows.")
    protocol = rows["protocol"].iloc[0]
    if protocol not in PROTOCOLS:
        listed = ", ".join(PROTOCOLS)
        raise InputError(f"FOLDER must be of {listed}, but {folder} is of {protocol}.")
    if not rows["status"].eq("completed").any():
        raise InputError(f"FOLDER must hold completed runs, but all in {folder} diverged.")
    # a run's configuration stands before its results, which begin with the status
    configuration = names[: names.index("status")]
    if protocol == "one-shot":
        # folders of earlier versions don't say what the training cost
        cost = rows.get("training_flops", math.nan)
        rows = rows.assign(epochs_spent=rows["epochs"], training_flops=cost)
    if protocol == "sculpt":
        rows = rows[(rows["cycle"] == rows["cycles"]) | (rows["status"] != "completed")]
    return _Source(folder, rows.assign(folder=str(folder)), configuration)


def _check_same_images(sources: Sequence[_Source]) -> None:
    first, *others = sources
    for other in others:
        for name in IMAGES:
            here, there = first.rows[name].iloc[0], other.rows[name].iloc[0]
            if here != there and (given(here) or given(there)):
                raise InputError(
                    f"FOLDER must be of one data set and model, but {name} is {here} in "
                    f"{first.folder} and {there} in {other.folder}."
                )


def _setups(frame: pandas.DataFrame, options: Sequence[str]) -> list[str]:
    """Return each row's family and the options that differ within a method of it.

    An option that follows from one named before is omitted.
    """
    import pandas

    names = pandas.Series(families(frame), index=frame.index)
    for _, rows in frame.groupby([names, "method"], sort=False):
        parts = [names[rows.index]]
        for option in options:
            values = rows[option].map(_text)
            if values.groupby(parts).nunique().max() > 1:
                parts.append(option + "=" + values)
        for i in rows.index:
            names[i] = ", ".join(part[i] for part in parts)
    return list(names)


def _text(value: Any) -> str:
    if not given(value):
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def targets(frame: pandas.DataFrame, wanted: Sequence[float] | None = None) -> list[float]:
    """Return the sparsities at which setups are compared.

    `wanted`, or those that cyclic training and SCULPT-ing were aimed at, or else the usual ones
    that some setup comes near.

    Raises
    ------
    InputError
        If no setup comes near one that is wanted.
    """
    there = frame.loc[frame["status"] == "completed", "sparsity"].unique()
    if wanted is not None:
        for target in wanted:
            if not any(near(sparsity, target) for sparsity in there):
                raise InputError(
                    f"--sparsities must be near those in the folders, {min(there):.4g} … "
                    f"{max(there):.4g}, but one is {target:g}."
                )
        return sorted(set(wanted))
    aimed = frame[frame["protocol"].isin(["cyclic", "sculpt"]) & (frame["status"] == "completed")]
    if len(aimed):
        return sorted({round(sparsity, 3) for sparsity in aimed["sparsity"]})
    usual = [t for t in TABULATED if any(near(sparsity, t) for sparsity in there)]
    return usual or [float(max(there))]


def at(frame: pandas.DataFrame, target: float) -> pandas.DataFrame:
    """Return each line's readings at the sparsity nearest to the target, where it is near."""
    import pandas

    readings = []
    for _, rows in frame.groupby(["setup", "method"], sort=False):
        level = nearest(rows["sparsity"].unique(), target)
        if near(level, target):
            readings.append(rows[rows["sparsity"] == level])
    return pandas.concat(readings) if readings else frame.iloc[:0]


def levels(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Return each line's last reading at every sparsity: with the longest training."""
    longest = frame.groupby(["setup", "method", "sparsity"])["epochs_spent"].transform("max")
    return frame[frame["epochs_spent"] == longest]
