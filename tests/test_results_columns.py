"""docs/results.md: every column and every array of the rows has its line, and none is made up."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from gpu_bench import report
from gpu_bench import run as vision
from mirrorflow import results
from mirrorflow.sweep import __main__ as cli

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
SECTION = re.compile(r"^### (.*)$", re.MULTILINE)
OF_CLAIMS = {"key", "study", "group", "loss", "trial"}


def documented(heading: str) -> tuple[set[str], set[str]]:
    """Columns and arrays that the tables below a heading name."""
    text = PAGE.read_text().split("\n## Columns\n")[1].split("\n## ")[0]
    parts = SECTION.split(text)[1:]
    (body,) = [body for name, body in zip(parts[::2], parts[1::2], strict=True) if heading in name]
    names: tuple[set[str], set[str]] = (set(), set())
    which = 0
    for line in body.splitlines():
        if line.startswith(("| column |", "| array |")):
            which = int(line.startswith("| array |"))
        elif line.startswith("| `"):
            names[which].update(re.findall(r"`([\w.-]+)`", line.split(" | ")[0]))
    return names


def held(folder: Path) -> tuple[set[str], set[str]]:
    columns = results.load(folder).columns
    # a certificate brings two columns of its own
    plain = {
        re.sub(r"_(bound|holds)$", "", name) if name[-6:] != "_bound" else name[:-6]
        for name in columns
    }
    paths = results.load_paths(folder / "paths.npz")
    return plain, {name.split("/", 1)[1] for name in paths}


@pytest.fixture(scope="module")
def theorem23(tmp_path_factory):
    """Drawn problems, a file with names, one without a solution; harmonic schedules among them."""
    folder = tmp_path_factory.mktemp("theorem23")
    (folder / "own.csv").write_text("a,b,c,t\n1,2,4,1\n2,-1,1,3\n")
    flags = ["--seeds", "1", "--totals", "1", "--schedules", "constant", "harmonic", "--jobs", "1"]
    drawn = ["--problem", "gaussian", "--n", "4", "--d", "8", "--k", "1"]
    np.savez(folder / "beyond.npz", Z=[[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]], y=[1.0, 3.0])
    beyond = ["--data", str(folder / "beyond.npz")]
    own = ["--data", str(folder / "own.csv"), "--target", "t", "--standardize"]
    for i, more in enumerate((drawn, own, beyond)):
        out = ["--transition-betas", "--out", str(folder / str(i))]
        assert cli.main(["theorem23", *flags, *more, *out]) == 0
    return folder


def test_theorem23(theorem23):
    both = [held(theorem23 / name) for name in "012"]
    columns, arrays = (set.union(*sides) for sides in zip(*both, strict=True))
    common, _ = documented("All studies")
    wanted, named = documented("`theorem23`")
    assert columns == wanted | common - {"attempts"}
    assert arrays == named
    assert {"largest_features", "target", "standardize"} <= both[1][0] - both[0][0]


def test_discrete_studies(tmp_path):
    flags = ["--n", "4", "--d", "8", "--k", "1", "--seeds", "1", "--steps", "20", "--totals", "1"]
    flags += ["--jobs", "1", "--record", "2"]
    for study in ("sgd", "regularization"):
        more = ["--batch", "2"] if study == "sgd" else []
        # twenty steps so large are refuted to stay with the exact flow
        assert cli.main([study, *flags, *more, "--out", str(tmp_path / study)]) in (0, 3)
        columns, arrays = held(tmp_path / study)
        common, _ = documented("All studies")
        wanted, named = documented("`sgd`")
        assert columns == wanted | common - {"attempts"}
        assert arrays == named


def test_discrete(tmp_path):
    flags = ["--n", "3", "--d", "8", "--k", "1", "--seeds", "1", "--ratios", "0.5", "--jobs", "1"]
    assert cli.main(["discrete", *flags, "--streams", "2", "--out", str(tmp_path)]) == 0
    columns, arrays = held(tmp_path)
    common, _ = documented("All studies")
    wanted, named = documented("`discrete`")
    assert columns == wanted | common - {"attempts"}
    assert arrays == named


@pytest.mark.parametrize(
    ("study", "flags"),
    [
        ("depth", ["--n", "4", "--d", "8", "--k", "1", "--depths", "2", "3", "--scales", "3", "1"]),
        ("saddles", ["--n", "4", "--d", "8", "--k", "1", "--scales", "50"]),
        ("margins", ["--n", "4", "--d", "8", "--scales", "1", "--totals", "0"]),
    ],
)
def test_flow_studies(study, flags, tmp_path):
    more = ["--seeds", "1", "--jobs", "1", "--out", str(tmp_path)]
    assert cli.main([study, *flags, *more]) == 0
    columns, arrays = held(tmp_path)
    common, _ = documented("All studies")
    wanted, named = documented(f"`{study}`")
    assert columns | common == wanted | common
    assert arrays == named


def test_claims(tmp_path):
    """The columns of claims are their keys, which the ledger lists."""
    flags = ["--trials", "1", "--only", "invariant", "--jobs", "1", "--out", str(tmp_path)]
    assert cli.main(["claims", *flags]) == 0
    columns, _ = held(tmp_path)
    ledger = (PAGE.parent / "claims.md").read_text()
    wanted, _ = documented("`claims`")
    assert wanted | {"key"} == OF_CLAIMS
    assert columns >= OF_CLAIMS
    assert all(f"--only {name}`" in ledger for name in columns - OF_CLAIMS)


def test_vision(tmp_path, monkeypatch):
    """The rows of all protocols together have the documented columns, no more and no fewer."""
    monkeypatch.setattr(report, "figures", lambda *_: [])
    flags = ["--methods", "pilot", "--epochs", "1", "--seeds", "1", "--batch-size", "359"]
    flags += ["--jobs", "1"]
    found: tuple[set[str], set[str]] = (set(), set())
    for protocol, more in {
        "one-shot": ["--sparsities", "0.5", "--ledger"],
        "iterative": ["--cycles", "1"],
        "cyclic": ["--cycles", "1"],
        "target": ["--budget", "1"],  # which may not do
    }.items():
        out = tmp_path / protocol
        done = (0, 2) if protocol == "target" else (0,)
        assert vision.main([protocol, *flags, *more, "--out", str(out)]) in done
        for some, names in zip(found, held(out), strict=True):
            some.update(names)
    common, _ = documented("All studies")
    wanted, named = documented("`gpu_bench`")
    assert found[0] == wanted | common - {"attempts"}
    assert found[1] == named


def test_own_data_in_the_page_is_the_formula(tmp_path):
    """x_j/s_j is the coefficient of the original column, as the page says."""
    import mirrorflow as mf

    Z = np.array([[1.0, 20.0, 3.0], [2.0, -10.0, 5.0]])
    problem = mf.Regression(Z, [1.0, 4.0])
    x = np.array([0.5, -1.0, 2.0])
    scales = (Z - Z.mean(axis=0)).std(axis=0)
    predicted = Z @ (x / scales)
    assert np.allclose(problem.standardized().Z @ x, predicted - predicted.mean())
