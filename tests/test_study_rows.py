"""Rows of every study on small problems are those they were: runs, numbers, paths, verdicts.

`python tests/test_study_rows.py` records them anew, where a study is changed on purpose.
"""

from __future__ import annotations

import functools
import json
import re
import tempfile
import warnings
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from mirrorflow import InputError
from mirrorflow.runs.store.table import as_frame, as_table
from mirrorflow.sweep.__main__ import PROGRAM

RECORD = Path(__file__).parent / "data" / "study_rows.json"
SMALL = {"n": 4, "d": 8, "k": 1, "seeds": 1}
STEPS = {**SMALL, "steps": 40, "record": 2, "step_size": 1e-2, "per": 10, "totals": (0.05, 0.2)}
FILE = {"seeds": 1, "totals": (1.0,), "transition_betas": ()}
CASES = {
    "theorem23": {
        **SMALL,
        "problem": "gaussian",
        "totals": (0.0, 1.0),
        "transition_betas": (50.0,),
    },
    "theorem23 own.csv": {**FILE, "target": "t", "standardize": True, "t_end": 5.0},
    "theorem23 beyond.npz": {**FILE, "schedules": ("constant", "harmonic")},
    "theorem23 balanced.npz": {"totals": (0.5,), "schedules": ("constant",)},
    "initialization": {**STEPS, "seeds": 2, "noise": 0.1},
    "regularization": {
        **{**STEPS, "totals": (0.05, 4.0), "shapes": ("constant", "quadratic")},
        "loss": "half_mse",
    },
    "schedules": {**STEPS, "l1": "proximal", "step_size": 0.3},
    "sgd": {**STEPS, "shapes": ("harmonic",), "batch": 2, "sgd_seeds": 2},
    "discrete": {**SMALL, "seeds": 2, "streams": 2, "ratios": (0.1, 0.2, 0.4, 3.2), "steps": 3000},
    "discrete gd": {**SMALL, "methods": ("gd",), "ratios": (0.02, 0.04, 0.08), "beta": 4.0},
    "depth": {**SMALL, "depths": (2, 3), "scales": (3.0, 0.5, 0.1)},
    "saddles": {**SMALL, "seeds": 2, "k": 2, "scales": (50.0, 200.0)},
    "margins": {"n": 4, "d": 8, "seeds": 1, "scales": (1.0, 1e-4), "log_times": (-3.0, 2.0, 9.0)},
}
COUNTED = ("_steps", "_sides", "_factorizations")  # which another processor may make a few more of


def made(folder: Path) -> None:
    """Files of one's own: with names, without a solution, and with balanced starts."""
    (folder / "own.csv").write_text("a,b,c,t\n1,2,4,1\n2,-1,1,3\n")
    np.savez(folder / "beyond.npz", Z=[[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]], y=[1.0, 3.0])
    m0, w0 = [0.5, 0.5, 0.0, 1.0], [0.5, -0.5, 0.0, 0.2]
    Z = [[1.0, 2.0, -1.0, 0.5], [0.5, -1.0, 2.0, 1.0]]
    np.savez(folder / "balanced.npz", Z=Z, y=[1.0, 0.5], m0=m0, w0=w0, x_true=[1.0, 0.0, 0.0, 0.0])


def mark(array: np.ndarray) -> list[float]:
    """A number that a change of any entry moves; and the second entry, as times start small."""
    flat = np.ravel(np.asarray(array, float))
    flat = np.where(np.isfinite(flat), flat, 7.0)
    weights = 1.0 + np.arange(flat.size) % 97 / 97.0
    return [float(weights @ np.abs(flat)), *map(float, flat[1:2])]


@functools.cache
def computed(case: str) -> dict[str, object]:
    """Specifications, rows, marks of the paths, and what the rows say."""
    name, _, file = case.partition(" ")
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made(Path(place))
        own = {"data": Path(place) / file} if "." in file else {}
        study = PROGRAM.study(name)(out=Path(place), jobs=1, **CASES[case], **own)
        runs = study.runs()
        batches = study.batches(runs)
        pairs = [pair for batch in batches for pair in study.compute([run.spec for run in batch])]
        order = [run for batch in batches for run in batch]
        rows = [
            {"key": run.key, **run.spec, **row} for run, (row, _) in zip(order, pairs, strict=True)
        ]
        frame = as_frame(as_table(rows, {}))
        verdicts = study.verdicts(frame)
        summary = study.summary(frame)
    assert sorted(run.key for run in order) == sorted(run.key for run in runs)
    unlike = ("data", "data_sha256", "problem") if own else ()
    return {
        "specs": [{k: v for k, v in run.spec.items() if k not in unlike} for run in runs],
        "batches": [len(batch) for batch in batches],
        "rows": [row for row, _ in pairs],
        "paths": [{k: [list(np.shape(v)), mark(v)] for k, v in some.items()} for _, some in pairs],
        "verdicts": [[v.claim, v.trials, v.value, v.bound, v.verdict] for v in verdicts],
        "against": [[v.claim, len(study.against(frame, v))] for v in verdicts if v.refuted],
        "remarks": study.remarks(frame),
        "summary": None if summary is None else list(summary),
    }


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


def test_every_study_is_recorded(record):
    assert list(record) == list(CASES)
    assert {case.partition(" ")[0] for case in CASES} == PROGRAM.studies.keys() - {"claims"}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("part", ["specs", "batches", "against", "remarks"])
def test_the_same_runs_are_asked_for(record, case, part):
    assert json.loads(json.dumps(computed(case)[part])) == record[case][part]


@pytest.mark.parametrize("case", CASES)
def test_rows_are_those_that_they_were(record, case):
    """To 1e-4, which is beyond what another processor changes; distances that are rounding stay
    below 1e-7, values of certificates as far below their bounds."""
    rows = computed(case)["rows"]
    for row, old in zip(rows, record[case]["rows"], strict=True):
        assert list(row) == list(old)
        for name, value in row.items():
            if name.endswith("_seconds"):
                assert value >= 0.0
            elif name.endswith(("_bound", *COUNTED)):
                assert value == pytest.approx(old[name], rel=0.2, nan_ok=True), name
            elif f"{name}_bound" in row and old[name] is not None:
                bound = row[f"{name}_bound"]
                if old[name] > 0.1 * old[f"{name}_bound"]:
                    assert value == pytest.approx(old[name], rel=1e-2), name
                elif value > 0.01 * bound:
                    assert value / bound < 3.0 * old[name] / old[f"{name}_bound"], name
            elif isinstance(value, float):
                assert value == pytest.approx(old[name], rel=1e-4, abs=1e-7, nan_ok=True), name
            elif name != "message":
                assert value == old[name], name


@pytest.mark.parametrize("case", CASES)
def test_paths_are_those_that_they_were(record, case):
    for some, old in zip(computed(case)["paths"], record[case]["paths"], strict=True):
        assert list(some) == list(old)
        for name, (shape, numbers) in some.items():
            assert shape == old[name][0], name
            assert numbers == pytest.approx(old[name][1], rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("case", CASES)
def test_verdicts_and_summaries_are_those_that_they_were(record, case):
    found, old = computed(case), record[case]
    for (*words, value, bound, verdict), (*expected, old_value, old_bound, said) in zip(
        found["verdicts"], old["verdicts"], strict=True
    ):
        assert (words, verdict) == (expected, said)
        if "reproduced" in said:  # other verdicts show a trial that rounding chooses
            assert [value, bound] == pytest.approx([old_value, old_bound], rel=1e-4)
    if found["summary"] is None:
        assert old["summary"] is None
    else:
        (title, headings, rows), (*head, cells) = found["summary"], old["summary"]
        assert [title, headings] == head
        for cell, was in zip(chain(*rows), chain(*cells), strict=True):
            if re.fullmatch(r"[\d.]+(e[+-]\d+)?", was):
                assert float(cell) == pytest.approx(float(was), rel=0.1, abs=1e-7)
            else:
                assert cell == was


LIMITS = [
    ("discrete", "ratios", 1e-4, 100.0),
    ("discrete", "momentum", 0.0, 0.99),
    ("discrete", "batch", 1, 4),
    ("discrete", "streams", 1, 10_000),
    ("discrete", "steps", 1, 10**8),
    ("discrete", "d", 4, 10_000),
    ("depth", "depths", 2, 10),
    ("depth", "scales", 1e-4, 3.0),
    ("depth", "flows", 0.1, 100.0),
    ("depth", "d", 5, 10_000),
    ("saddles", "scales", 1.0, 1e4),
    ("saddles", "end", 0.1, 10.0),
    ("saddles", "k", 1, 8),
    ("margins", "scales", 1e-300, 1e9),
    ("margins", "totals", 0.0, 1e3),
    ("margins", "log_times", -50.0, 1e7),
    ("margins", "d", 4, 10_000),
    ("regularization", "totals", 0.0, 100.0),
    ("regularization", "record", 1, 100_000),
    ("sgd", "batch", 1, 4),
    ("theorem23", "timescale", 0.01, 1e9),
    ("theorem23", "t_end", 1e-6, 1e9),
    ("theorem23", "seeds", 1, 10_000),
    ("claims", "trials", 1, 1_000_000),
]


@pytest.mark.parametrize(("name", "flag", "low", "high"), LIMITS)
def test_flags_have_limits_that_are_allowed_themselves(name, flag, low, high):
    whole = isinstance(low, int)
    small = {"seeds": 1, "n": 4, "d": 8}
    if name == "claims":
        small = {"only": ("invariant",)}
    elif name == "theorem23":
        small |= {"problem": "gaussian", "k": 1, "totals": (1.0,), "transition_betas": ()}
    elif name != "margins":
        small["k"] = 1

    def runs(value):
        kind = PROGRAM.study(name)
        several = isinstance(getattr(kind(), flag), tuple)
        return kind(**{**small, flag: (value,) if several else value}).runs()

    assert runs(low)
    assert name == "claims" or runs(high)  # a million trials
    outside = np.nextafter(low, -np.inf), np.nextafter(high, np.inf)
    for value in (low - 1, high + 1) if whole else outside:
        with pytest.raises(InputError, match=f"--{flag.replace('_', '-')} must"):
            runs(value)


def plain(value):
    """For JSON, with nine digits."""
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return float(f"{value:.7g}") if isinstance(value, float) else value


if __name__ == "__main__":
    lines = [f"{json.dumps(case)}: {json.dumps(plain(computed(case)))}" for case in CASES]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")
