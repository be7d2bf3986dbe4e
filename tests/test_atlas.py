"""docs/atlas.md: what its table names exists, and its verdicts are those of the ledger."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import mirrorflow
from mirrorflow.claims.registry import CLAIMS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "atlas.md"
LETTERS = {"E": 6, "D": 7, "S": 3, "J": 4, "K": 4, "M": 1, "H": 2, "P": 1, "R": 1, "Discrete ": 14}
WORDS = {"confirmed": "claim", "outside": "outside"}  # verdict, and the kind of claim it is of


def table():
    lines = PAGE.read_text("utf-8").splitlines()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line[:1] == "|"
    ]
    assert all(len(row) == 7 for row in rows)
    return rows[2:]


def claims(verdict):
    """(word, key) of each claim that a verdict names."""
    parts = (part.split(": ") for part in verdict.split("; ") if part != "in tests")
    return [(word, key) for word, keys in parts for key in re.findall(r"`(\w+)`", keys)]


def test_every_row_is_there_once():
    expected = [f"{letter}{i}" for letter, count in LETTERS.items() for i in range(1, count + 1)]
    assert [row[0] for row in table()] == expected


@pytest.mark.parametrize("row", table(), ids=lambda row: row[0])
def test_names_claims_and_figures_exist(row):
    _, paper, statement, functions, verdict, figure, doubts = row
    assert paper
    assert statement
    for dotted in re.findall("`(.+?)`", functions):
        found = mirrorflow
        for part in dotted.split("."):
            if not hasattr(found, part):
                __import__(f"{found.__name__}.{part}")
            found = getattr(found, part)
        assert callable(found) or isinstance(found, property)
    assert functions
    if verdict == "in tests":  # and the row says so
        assert "no claim of the ledger" in doubts
    for word, key in claims(verdict):
        assert CLAIMS[key].kind == WORDS[word], key
    for path in re.findall(r"\]\((.+?)\)", figure):
        assert (PAGE.parent / path).resolve().exists()


def test_verdicts_are_those_of_the_ledger():
    """Claims that wait for the next run of the ledger are in the registry already."""
    ledger = (ROOT / "docs" / "claims.md").read_text("utf-8")
    said = dict(re.findall(r"--only (\w+)`</details> \| (.+?) \|", ledger))
    words = {"confirmed": "confirmed", "outside": "outside conditions"}
    named = [entry for row in table() for entry in claims(row[4])]
    assert sum(key in said for _, key in named) > 20
    assert [key for word, key in named if said.get(key, words[word]) != words[word]] == []


def test_every_source_of_the_ledger_is_in_the_table():
    """A claim after another paper than the package's own has its row."""
    named = {key for row in table() for _, key in claims(row[4])}
    own = ("ICLR", "v1", "exact form", "against", "Gronwall", "beyond", "changed", "this project")
    others = {
        key
        for key, claim in CLAIMS.items()
        if claim.kind == "claim"
        and re.search(r"\b20\d\d\b", claim.source)
        and not claim.source.startswith(own)
    }
    assert others - named == set()
