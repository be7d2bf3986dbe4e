"""Flags of the studies: what a problem lacks is refused by name; own data with names and scales."""

from __future__ import annotations

import dataclasses
import json
import warnings

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow import InputError, results
from mirrorflow.sweep import __main__ as cli
from mirrorflow.sweep import descents
from mirrorflow.sweep import theorem23_trials as trials
from mirrorflow.sweep.theorem23 import PROBLEMS, Theorem23

pytestmark = pytest.mark.filterwarnings("ignore:Z has n = ")

# two values of every flag that belongs to some problems only, the first its default
VALUES = {"n": ("40", "7"), "d": ("100", "9"), "k": ("5", "1"), "noise": ("0", "0.5")}
VALUES |= {"degree": ("4", "1"), "digit": ("0", "3"), "data-seed": ("0", "1")}
OWNERS = {
    "n": {"gaussian", "diabetes", "digits"},
    "d": {"gaussian"},
    "k": {"gaussian"},
    "noise": {"gaussian"},
    "degree": {"diabetes"},
    "digit": {"digits"},
    "data-seed": {"gaussian", "diabetes", "digits"},
}


def refused(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert cli.main(list(flags)) == 2
    text = capsys.readouterr().err.strip()
    assert text.startswith("error: ")
    assert "\n" not in text
    return text


@pytest.fixture
def files(tmp_path, monkeypatch):
    """own.csv, own.npz, and start.npz, which holds m0 and w0."""
    rng = np.random.default_rng(0)
    Z, y = rng.standard_normal((4, 7)), rng.standard_normal(4)
    names = [f"gene{j}" for j in range(7)]
    table = np.column_stack([Z * 10.0 ** np.arange(7), y, y + 1])
    header = ",".join([*names, "y", "other"])
    np.savetxt(tmp_path / "own.csv", table, delimiter=",", header=header, comments="")
    np.savez(tmp_path / "own.npz", Z=Z, y=y, names=np.array(names))
    np.savez(tmp_path / "start.npz", Z=Z, y=y, m0=np.ones(7), w0=np.zeros(7))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("problem", [*PROBLEMS, "all"])
@pytest.mark.parametrize("flag", VALUES)
def test_flags_belong_to_problems(capsys, problem, flag):
    """A flag that is given its own default is given all the same."""
    for value in VALUES[flag]:
        if problem == "all" or problem in OWNERS[flag]:
            name, kind = flag.replace("-", "_"), float if flag == "noise" else int
            (first, *_) = [
                run.spec
                for run in Theorem23(problem=problem, **{name: kind(value)}).runs()
                if run.spec["problem"] in OWNERS[flag]
            ]
            assert first[name] == kind(value)
        else:
            said = refused(capsys, "--problem", problem, f"--{flag}", value)
            assert f"--{flag} belongs to --problem {min(OWNERS[flag])}" in said
            assert f"--problem is {problem}" in said


@pytest.mark.parametrize("flag", [*VALUES, "problem"])
def test_flags_of_drawn_problems_beside_a_file_are_refused(files, capsys, flag):
    for value in VALUES.get(flag, ("all", "gaussian")):
        said = refused(capsys, "--data", "own.npz", f"--{flag}", value)
        assert f"--{flag} belongs to problems that are drawn, but the problem is the file" in said


@pytest.mark.parametrize(
    "flags", [["--seeds", "5"], ["--beta", "1"], ["--transition-betas", "0.01", "100"]]
)
def test_flags_of_drawn_starts_beside_a_start_are_refused(files, capsys, flags):
    said = refused(capsys, "--data", "start.npz", *flags)
    assert f"{flags[0]} belongs to starts that are drawn, but start.npz holds m0 and w0" in said
    assert Theorem23(data=files / "own.npz", seeds=1, beta=2.0, transition_betas=()).runs()


def test_standardizing_beside_a_start_is_refused(files, capsys):
    """The start is in the units of the x that it was made for."""
    said = refused(capsys, "--data", "start.npz", "--standardize")
    assert "--standardize belongs to starts that are drawn" in said


@pytest.mark.parametrize("flags", [["--target", "y"], ["--standardize"]])
def test_flags_of_files_without_a_file_are_refused(capsys, flags):
    assert f"{flags[0]} belongs to --data, but no file is given" in refused(capsys, *flags)


@pytest.mark.parametrize(
    ("study", "flags", "message"),
    [
        ("initialization", ["--l1", "subgradient"], "--l1 belongs to L1 regularisers"),
        ("initialization", ["--l1", "proximal"], "--l1 belongs to L1 regularisers"),
        ("sgd", ["--shapes", "constant", "--per", "1000"], "--per belongs to shapes that decay"),
        ("sgd", ["--per", "0"], "--per must be at least 1"),
        ("discrete", ["--methods", "gd", "--momentum", "0.5"], "--momentum belongs to --methods"),
        ("discrete", ["--methods", "gd", "heavy_ball", "--batch", "2"], "--batch belongs to"),
        ("discrete", ["--methods", "gd", "--streams", "8"], "--streams belongs to --methods sgd"),
        ("discrete", ["--ratios", "0"], "--ratios must be a finite number at least 0.0001"),
        ("discrete", ["--batch", "9"], "--batch must be at least 1 and at most 8"),
        ("discrete", ["--n", "61"], "--n must be at least 1 and at most 60"),
        ("discrete", ["--d", "7"], "--d must be at least 8"),
        ("discrete", ["--momentum", "1"], "--momentum must be a finite number at least 0 and"),
    ],
)
def test_flags_of_the_discrete_studies(capsys, study, flags, message):
    assert message in refused(capsys, study, *flags)


def test_default_runs_are_the_ones_they_were():
    """What is not given does not change what the rows of a default run say."""
    specs = [run.spec for run in Theorem23().runs()]
    assert list(specs[0]) == [
        *("study", "data", "data_sha256", "n", "d", "k", "noise", "degree", "digit", "data_seed"),
        *("problem", "seed", "beta", "schedule", "total", "timescale", "t_end_asked", "rtol"),
        "cvxpy_check",
    ]
    names = ("problem", "n", "d", "k", "noise", "degree", "digit", "data_seed", "data")
    assert list(dict.fromkeys(tuple(spec[name] for name in names) for spec in specs)) == [
        ("diabetes", 60, None, None, None, 4, None, 0, None),
        ("gaussian", 40, 100, 5, 0.0, None, None, 0, None),
        ("digits", 40, None, None, None, None, 0, 0, None),
    ]
    assert {spec["seed"] for spec in specs} == set(range(5))
    assert {spec["beta"] for spec in specs} == {1.0, 0.01, 100.0}
    assert len(specs) == 3 * (5 * 17 + 2 * 6)
    for study in (descents.Initialization(), descents.Sgd()):
        assert {(run.spec["per"], run.spec["l1"]) for run in study.runs()} == {
            (1000, "subgradient")
        }


def test_a_run_is_called_by_what_is_given_only(files):
    """Flags of a file are part of a run's key where they are given, and nowhere else."""
    plain = Theorem23(data=files / "own.csv").runs()[0].spec
    assert not {"target", "standardize"} & set(plain)
    study = Theorem23(data=files / "own.csv", target="other", standardize=True)
    given = study.runs()[0].spec
    assert (given["target"], given["standardize"]) == ("other", True)
    assert {name: given[name] for name in plain} == plain
    problem = trials.build_problem(trials.problem_key(given))
    expected = mf.load(files / "own.csv", "other").standardized()
    assert np.array_equal(problem.Z, expected.Z)
    assert np.array_equal(problem.y, expected.y)
    assert problem.names == (*(f"gene{j}" for j in range(7)), "y")


def test_columns_of_different_scales_are_named(files):
    with pytest.warns(
        UserWarning, match=r"scales run from other \(\d.*\) to gene6 \(\d.*--standard"
    ):
        Theorem23(data=files / "own.csv").runs()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Theorem23(data=files / "own.csv", standardize=True).runs()
        Theorem23(data=files / "own.npz").runs()
    Z = [[1.0, 0.0, 101.0]]
    np.savez(files / "wide.npz", Z=Z, y=[1.0])
    with pytest.warns(UserWarning, match=r"from column 1 \(1\) to column 3 \(1e\+02\)"):
        Theorem23(data=files / "wide.npz").runs()


def test_a_start_that_does_not_fit_names_its_file(files):
    np.savez(files / "bad.npz", Z=np.ones((2, 7)), y=np.ones(2), m0=np.ones(6), w0=np.ones(6))
    with pytest.raises(InputError, match=r"bad\.npz: start must have d = 7"):
        Theorem23(data=files / "bad.npz").runs()


def test_which_features(files):
    """Names go from the header to rows and manifest; x refers to standardized columns."""
    flags = ["--data", "own.csv", "--target", "other", "--standardize", "--totals", "1"]
    flags += ["--seeds", "1", "--schedules", "constant", "--transition-betas", "--jobs", "1"]
    assert cli.main([*flags, "--out", "out"]) == 0
    frame = results.load(files / "out")
    features = json.loads((files / "out" / "manifest.json").read_text())["features"]
    assert features == [*(f"gene{j}" for j in range(7)), "y"]
    paths = results.load_paths(files / "out" / "paths.npz")
    row = frame.iloc[0]
    x = paths[f"{row['key']}/x_limit"]
    problem = mf.load(files / "own.csv", "other").standardized()
    assert np.abs(problem.Z @ x - problem.y).max() < 1e-9
    order = sorted(range(8), key=lambda j: -abs(x[j]))[:5]
    assert row["largest_features"] == ", ".join(f"{features[j]} ({x[j]:+.2g})" for j in order)
    assert row["standardize"]
    assert row["target"] == "other"


def test_leading_features_are_the_largest_and_no_zeros():
    problem = mf.Regression(np.ones((1, 4)), [1.0], names=["a", "b\n\x1b[2J", "c" * 99, "d"])
    assert problem.leading(np.array([0.0, -2.0, 1.0, 0.0])).split(", ") == [
        "b \N{REPLACEMENT CHARACTER}[2J (-2)",
        f"{'c' * 40} (+1)",
    ]
    assert mf.gaussian_recovery(2, 3, 1, 0).leading(np.array([0, 0, -1.5])) == "column 3 (-1.5)"
    assert problem.leading(np.zeros(4)) == ""


def test_every_flag_of_a_problem_is_a_flag():
    fields = {field.name for field in dataclasses.fields(Theorem23)}
    assert {flag for flags in PROBLEMS.values() for flag in flags} <= fields
    assert {flag.replace("-", "_") for flag in VALUES} == {f for p in PROBLEMS.values() for f in p}
