"""Which setting of a method is best on held-out images, and the file that says so.

tuned.json names the data, the model and how they were split, and for each method its best setting
by the names of its options:
{"methods": {"spred": {"setting": {"lr": 0.2, "total": 3.0}, …}, …}, …}.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_bench import methods
from mirrorflow.checks import InputError, brief, number
from mirrorflow.runs.store import Row, atomic_write
from mirrorflow.runs.untrusted import file_size

if TYPE_CHECKING:
    import pandas

__all__ = ["choose", "read", "scores", "write"]

LARGEST = 2**20  # bytes; eight methods take two thousand


def scores(frame: pandas.DataFrame) -> pandas.DataFrame:
    """Return what each setting reached: one row per method and setting that was tried, in order.

    Columns: `method`; `setting`, a dict by the names of options; `accuracy`, the mean over
    sparsities and seeds, NaN where a run diverged; and one column per sparsity, the mean over
    seeds.
    """
    import pandas

    rows = []
    for name, tried in frame.groupby("method", sort=False):
        kind = methods.METHODS[str(name)]
        for setting in kind.grid:
            columns = {kind.column(option): value for option, value in setting.items()}
            same = tried[[*columns]] == pandas.Series(columns)
            there = tried[same.all(axis=1)]
            if len(there):
                # a run that diverged has accuracy NaN, which is kept
                reached = there.pivot(index="key", columns="sparsity", values="accuracy")
                means = reached.mean(skipna=False)
                accuracy = means.mean(skipna=False)
                rows.append({"method": name, "setting": setting, "accuracy": accuracy, **means})
    return pandas.DataFrame(rows)


def choose(frame: pandas.DataFrame) -> Row:
    """Return the content of tuned.json: the best setting of each method, the earlier if equal.

    Raises
    ------
    InputError
        If every setting of a method diverged.
    """
    table, first = scores(frame), frame.iloc[0]
    chosen: dict[str, Row] = {}
    for name, tried in table.groupby("method", sort=False):
        if tried["accuracy"].isna().all():
            raise InputError(
                f"--methods must have a setting that trains, but all {len(tried)} of {name} "
                f"diverged."
            )
        best = tried.iloc[int(tried["accuracy"].argmax())]
        chosen[str(name)] = {
            "setting": best["setting"],
            "accuracy": float(best["accuracy"]),
            "tried": len(tried),
            "diverged": int(tried["accuracy"].isna().sum()),
        }
    return {
        **{name: first[name] for name in ("dataset", "model")},
        **{name: int(first[name]) for name in ("epochs", "batch_size", "validation_seed")},
        "validation": float(first["validation"]),
        "seeds": int(frame["seed"].nunique()),
        "sparsities": sorted(float(sparsity) for sparsity in frame["sparsity"].unique()),
        "methods": chosen,
    }


def write(path: Path, content: Row) -> None:
    """Write the file, whole or not at all."""
    atomic_write(path, json.dumps(content, indent=1).encode())


def read(path: Path, dataset: str, model: str) -> dict[str, dict[str, float]]:
    """Return each method's setting from a file that `write` wrote.

    Raises
    ------
    InputError
        If it can't be read, is of another data set or model, or holds what is no setting.
    """
    try:
        if file_size(path) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        content: Any = json.loads(path.read_bytes())
        settings = {name: dict(entry["setting"]) for name, entry in content["methods"].items()}
        task = content["dataset"], content["model"]
    except OSError as error:
        raise InputError(
            f"--tuned must be a file, but {path} is none ({error.strerror or error})."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"--tuned must be the tuned.json of tune, but {path} is not ({str(error)[:120]})."
        ) from None
    if task != (dataset, model):
        raise InputError(
            f"--tuned must be of {dataset} and {model}, but {path} is of {brief(task[0])} and "
            f"{brief(task[1])}."
        )
    for name, setting in settings.items():
        expected = methods.METHODS[name].grid[0] if name in methods.METHODS else {}
        if not expected or set(setting) != set(expected):
            raise InputError(
                f"--tuned must hold settings that tune tries, but {path} has "
                f"{brief(sorted(setting))} of {brief(name)}."
            )
        for flag, value in setting.items():
            argument = f"{flag} of {name} in {path}"
            setting[flag] = number(argument, value, 0.0, open_low=flag == "lr")
    return settings
