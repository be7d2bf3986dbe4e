"""The ledger: its verdicts follow the rows, a few trials repeat what docs/claims.md says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest

from mirrorflow import results
from mirrorflow.claims import registry
from mirrorflow.claims.registry import CLAIMS, GROUPS, SECTIONS
from mirrorflow.sweep import __main__ as cli
from mirrorflow.sweep import discrete, theorem23
from mirrorflow.sweep.claims import Claims, page, verdict

DOCS = Path(__file__).parents[1] / "docs" / "claims.md"
QUICK = ["claims", "--trials", "3", "--jobs", "1"]
VERDICTS = {
    "claim": "confirmed",
    "printed": "refuted as printed, confirmed as corrected",
    "changed": "refuted as changed, confirmed as corrected",
    "outside": "outside conditions",
}


def ledger(text):
    """Trials, value, bound and verdict by key, from the page."""
    rows = {}
    for line in text.splitlines():
        row = re.fullmatch(r"\| (.+?) <details>(.+)</details> \| (.+?) \| (\S+) / (\S+) \|", line)
        if row:
            key, trials = (re.search(p, row[2])[1] for p in (r"--only (\w+)`", r"(\d+) trials"))
            assert CLAIMS[key].statement == row[1]
            assert f"{CLAIMS[key].source}.<br>Conditions: {CLAIMS[key].conditions}." in row[2]
            rows[key] = (int(trials), float(row[4]), float(row[5]), row[3])
    return rows


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    copy = folder / "copy.md"
    assert cli.main([*QUICK, "--out", str(folder / "out"), "--page", str(copy)]) == 0
    assert copy.read_bytes() == (folder / "out" / "claims.md").read_bytes()
    return folder / "out"


def test_columns_of_studies_are_claims_of_the_ledger():
    said = {registry.statement(key) for key in CLAIMS}
    others = [key for key, words in theorem23.Theorem23.claims.items() if words not in said]
    assert others == ["mirror_flow", "arrival_nearest"]
    assert set(discrete.Discrete.claims.values()) < said
    assert registry.statement("arrival") == "Zx → y (2.3)"


def in_order(keys):
    """As on the page: by section, then as registered."""
    return sorted(keys, key=lambda key: list(SECTIONS).index(CLAIMS[key].section))


def test_the_readme_counts_the_rows():
    text = (DOCS.parents[1] / "README.md").read_text("utf-8")
    kinds = [claim.kind for claim in CLAIMS.values()]
    numbers = [len(CLAIMS), *(kinds.count(k) for k in ("claim", "printed", "changed", "outside"))]
    found = re.search(r"\n(\d+) statements.*?\n\n", text, re.S)
    assert [int(n) for n in re.findall(r"\b\d+\b", found[0]) if n not in ("1", "200")] == numbers


def test_a_few_trials_repeat_the_whole_ledger(quick):
    """Same verdicts; values and bounds of the same order, as the page's trials include these.

    A claim's worst ratio can't exceed the page's by more than rounding does, nor can a printed
    formula come nearer to its bound.
    """
    said, now = ledger(DOCS.read_text()), ledger((quick / "claims.md").read_text())
    assert list(now) == list(said) == in_order(CLAIMS)
    for key, (number, value, bound, text) in now.items():
        many, worst, limit, recorded = said[key]
        assert text == recorded == VERDICTS[CLAIMS[key].kind]
        assert many >= 200
        assert number in (3, 6)
        if key != "lasso_agreement":  # its bound is whatever gap scikit-learn leaves
            assert 1e-3 < bound / limit < 1e3
        if CLAIMS[key].corrected:
            assert value / bound > 0.5 * worst / limit
        elif value / bound > 1e-3:  # below, values are rounding
            assert value / bound < 1.5 * worst / limit + 0.01


def test_rows_of_the_whole_ledger(quick):
    frame = results.load(quick)
    assert len(frame) == 3 * sum(len(group.losses) for group in GROUPS.values())
    row = frame[(frame["group"] == "stop") & (frame["loss"] == "pseudo_huber")].iloc[1]
    again = registry.trial("stop", "pseudo_huber", int(row["trial"]))
    assert again["convergence"].bound == row["convergence_bound"]
    assert again["lower_rate"].value == pytest.approx(row["lower_rate"], rel=1e-6)
    # every claim is tried under the losses of its group, or under the squared one alone
    for name, group in GROUPS.items():
        for key in group.keys:
            tried = frame[frame[f"{key}_holds"].notna()]
            assert set(tried["group"]) == {name}
            both = len(group.losses) == 2 and "squared loss only" not in CLAIMS[key].conditions
            assert len(tried) == (6 if both else 3)


@pytest.fixture
def example():
    """The claims of docs/extending.md."""
    text = (DOCS.parent / "extending.md").read_text("utf-8")
    return next(b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "@judges" in b)


def test_a_file_of_one_s_own(tmp_path, example):
    """Its ledger has its claims, computed by processes of their own."""
    (tmp_path / "falls.py").write_text(example, "utf-8")
    flags = ["--trials", "2", "--jobs", "2", "--out", str(tmp_path / "out")]
    command = [sys.executable, "-m", "mirrorflow.sweep", str(tmp_path / "falls.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "claims.md").read_text("utf-8")
    row = r"^\| (.+?) <det.*?(\d) trials.*sweep falls.py --only (\w+)`.*?\| (.+?) \|"
    assert re.findall(row, page, re.MULTILINE) == [
        ("without penalty f_t does not rise", "4", "loss_falls", VERDICTS["claim"]),
        ("without penalty f_t does not fall", "4", "changed_sign", VERDICTS["changed"]),
    ]


def test_a_file_in_the_folder_of_claims(tmp_path, example):
    """It is in the ledger, and a key that is taken is refused at import."""
    ignored = shutil.ignore_patterns("__pycache__")
    folder = shutil.copytree(
        DOCS.parents[1] / "mirrorflow", tmp_path / "mirrorflow", ignore=ignored
    )
    own, _ = example.replace("from mirrorflow.sweep.claims import Claims\n", "").split("@dataclass")

    def keys():
        code = "from mirrorflow.claims.registry import CLAIMS, GROUPS; print(*CLAIMS, *GROUPS)"
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )

    (folder / "claims" / "own.py").write_text(own, "utf-8")
    assert {"loss_falls", "changed_sign", "falls"} < set(keys().stdout.split())
    (folder / "claims" / "own_again.py").write_text(own.replace('"falls"', '"other"'), "utf-8")
    assert "own, but ['loss_falls', 'changed_sign'] are taken" in keys().stderr


def test_a_choice_from_the_whole_ledger(quick, tmp_path, capsys):
    """One claim: its group's runs alone; a printed one brings its correction's."""
    wanted = "falls_under_pulses"
    flags = ["--only", wanted, "--out", str(tmp_path)]
    assert cli.main(["claims", "--trials", "1", "--jobs", "1", *flags]) == 0
    assert set(results.load(tmp_path)["group"]) == {"pulses", "power"}
    assert list(ledger((tmp_path / "claims.md").read_text())) == [wanted]
    assert "refuted (v1)" in capsys.readouterr().out


def frame_of(key, ratios, corrected=(), corrected_key=""):
    """One row per trial with bound 2."""
    rows = [{key: 2 * r, f"{key}_bound": 2.0, f"{key}_holds": r <= 1} for r in ratios]
    rows += [
        {corrected_key: r, f"{corrected_key}_bound": 1.0, f"{corrected_key}_holds": r <= 1}
        for r in corrected
    ]
    return pandas.DataFrame(rows)


def test_verdicts_follow_the_rows():
    claim = CLAIMS["convergence"]
    assert verdict(claim, frame_of("convergence", [0.1, 0.9]))[1:] == (2, 1.8, 2.0, "confirmed")
    found = verdict(claim, frame_of("convergence", [0.1, 3.0, 0.9]))
    assert found[1:] == (3, 6.0, 2.0, "refuted in 1")
    silent = frame_of("convergence", [0.1, np.nan])
    assert verdict(claim, silent)[1:] == (2, 0.2, 2.0, "can't be judged in 1")
    assert "1 of 2 trials can't be judged" in Claims(only=("convergence",)).remarks(silent)[0]
    both = frame_of("convergence", [0.1, np.nan, 3.0])
    assert verdict(claim, both).verdict == "refuted in 1"
    outside = CLAIMS["lasso_kkt"]
    assert verdict(outside, frame_of("lasso_kkt", [0.5])).verdict == "outside conditions"
    assert verdict(outside, frame_of("lasso_kkt", [1.5])).verdict == "refuted in 1"


def test_verdicts_of_printed_formulas():
    claim = CLAIMS["printed_argmin"]

    def said(ratios, corrected):
        return verdict(claim, frame_of(claim.key, ratios, corrected, claim.corrected))

    right = said([40.0, 7.0, 90.0], [0.5])
    assert right[1:] == (3, 14.0, 2.0, VERDICTS["printed"])
    assert said([40.0, 0.7], [0.5]).verdict == "not refuted in 1"
    assert said([40.0], [1.5]).verdict == "refuted as printed, not confirmed as corrected"
    assert said([40.0], [np.nan]).verdict == "refuted as printed, not confirmed as corrected"
    assert said([40.0, np.nan], [0.5]).verdict == "can't be judged in 1"
    alone = verdict(claim, frame_of(claim.key, [40.0]))
    assert alone.verdict == "refuted as printed, not confirmed as corrected"


def test_a_claim_without_trials():
    found = verdict(CLAIMS["arrival"], frame_of("convergence", [0.1]))
    assert (found.trials, found.verdict) == (0, "no trial finished")


def test_page():
    frame = frame_of("lasso_kkt", [0.5])
    text = page([CLAIMS["lasso_kkt"]], frame, "python -m mirrorflow.sweep claims")
    assert ledger(text) == {"lasso_kkt": (1, 1.0, 2.0, "outside conditions")}
    assert "--only lasso_kkt`" in text


def test_trials_are_keyed_by_their_number():
    """Another number of trials does not change any of them; both losses see one problem."""
    first = registry.trial("kick", "squared", 5)
    assert first == registry.trial("kick", "squared", 5)
    assert first != registry.trial("kick", "squared", 6)
    few, many = Claims(trials=2).runs(), Claims(trials=5).runs()
    assert {run.key for run in few} < {run.key for run in many}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--trials", "0"], "--trials must be at least 1 and at most 1e+06, but it is 0"),
        (["--only", "nothing"], "--only must hold keys of claims, but 'nothing' is none"),
        (["--page", "no/such/folder/claims.md"], "--page must lie in a folder that exists"),
    ],
)
def test_bad_input(tmp_path, capsys, flags, message):
    assert cli.main(["claims", *flags, "--out", str(tmp_path)]) == 2
    errors = capsys.readouterr().err.strip()
    assert message in errors
    assert len(errors.splitlines()) == 1
