"""A paper in one command: studies, ledger, one page; and tables as CSV and LaTeX."""

from __future__ import annotations

import csv
import dataclasses
import re

import numpy as np
import pytest

from mirrorflow.claims.registry import CLAIMS
from mirrorflow.runs.export import latex, write_tables
from mirrorflow.runs.verdicts import Summary, Verdict
from mirrorflow.sweep import __main__ as cli
from mirrorflow.sweep.claims import Claims
from mirrorflow.sweep.reproduce import PAPERS


@pytest.mark.parametrize("paper", ["jacobs2025", "woodworth2020", "moroshko2020", "even2023"])
def test_papers_have_studies_with_these_flags_and_claims(paper):
    assert Claims.name == "claims"  # registers them
    assert any(re.search(PAPERS[paper].claims, claim.source) for claim in CLAIMS.values())
    for name, quick in PAPERS[paper].studies.items():
        study = dataclasses.replace(cli.PROGRAM.study(name)(), **quick)
        assert 0 < len(study.runs()) < len(cli.PROGRAM.study(name)().runs())


def test_a_paper_becomes_one_page(tmp_path, capsys):
    words = ["reproduce", "pesme2023", "--quick", "--jobs", "1", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    page = (tmp_path / "pesme2023.html").read_text(encoding="utf-8")
    assert page.count("<article>") == 2
    assert "Saddle-to-Saddle Dynamics in Diagonal Linear Networks" in page
    assert "--quick: fewer problems" in page
    assert page.count("data:image/png") == 1
    keys = {claim.key for claim in CLAIMS.values() if "Pesme & Flammarion" in claim.source}
    wrong = {claim.key for claim in CLAIMS.values() if claim.corrected in keys}
    assert keys
    assert wrong
    with (tmp_path / "pesme2023" / "claims" / "verdicts.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["claim"] for row in rows] == [
        claim.statement for claim in CLAIMS.values() if claim.key in keys | wrong
    ]
    assert {row["verdict"] for row in rows} == {"confirmed", "refuted (changed)"}
    assert all(int(row["trials"]) == 5 for row in rows)
    capsys.readouterr()
    assert cli.main(words) == 0  # what is finished is not computed again


def test_a_paper_that_is_not_there_is_named(capsys):
    assert cli.main(["reproduce", "pesme2032"]) == 2
    said = capsys.readouterr().err
    assert "PAPER must be one of jacobs2025, " in said
    assert "Did you mean pesme2023?" in said


def test_every_statement_is_plain_latex():
    headings = ["claim", "source"]
    rows = [[claim.statement, f"{claim.source} {claim.conditions}"] for claim in CLAIMS.values()]
    text = latex(headings, rows, "ll", "The ledger", "ledger")
    assert text.isascii()
    assert "unicode" not in text.lower()
    assert "U+" not in text
    assert text.count(r"\\" + "\n") == len(rows) + 1
    bare = re.sub(r"\\[&%#_{}$]", "", text)
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"[%#$]", bare)


def test_numbers_keep_their_digits_in_csv_and_three_in_latex(tmp_path):
    verdicts = [Verdict("A < 1, exactly", 3, 1.0 / 3.0, np.nan, "confirmed")]
    summary = Summary("Means", ["a", "A=1"], [["x", "0.5"]])
    written = write_tables(tmp_path, verdicts, summary, "A study")
    assert sorted(path.name for path in written) == sorted(p.name for p in tmp_path.iterdir())
    with (tmp_path / "verdicts.csv").open(encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["worst value"]) == 1.0 / 3.0
    assert row["claim"] == "A < 1, exactly"
    assert "3.3e-01" in (tmp_path / "verdicts.tex").read_text()
    assert r"\caption{Means. A study}" in (tmp_path / "summary.tex").read_text()
    assert write_tables(tmp_path, [], None, "") == []
