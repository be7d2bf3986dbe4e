"""Pages for readers: notebooks are executed pairs, docs/theory.md names what exists."""

from __future__ import annotations

import base64
import json
import re
import typing
from pathlib import Path

import jupytext
import numpy as np
import pytest

import mirrorflow
from mirrorflow import certificates

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.py"))
TABLE = re.compile(r"^\| (?P<formula>.+?) \| (?P<computed>.*?) ?\| (?P<checked>.*?) ?\|$", re.M)


def rows():
    """(formula, names that compute, names that check) of the last table of docs/theory.md."""
    text = (ROOT / "docs" / "theory.md").read_text("utf-8").split("## 10. ")[1]
    cells = [match.groups() for match in TABLE.finditer(text)][1:]  # without the heading
    names = [(f, re.findall("`(.+?)`", a), re.findall("`(.+?)`", b)) for f, a, b in cells]
    assert len(names) > 20
    return names


def resolve(root, dotted):
    for name in dotted.split("."):
        if not hasattr(root, name):  # a submodule that nothing has imported yet
            __import__(f"{root.__name__}.{name}")
        root = getattr(root, name)
    return root


def test_every_name_in_the_theory_exists():
    for formula, computed, checked in rows():
        assert computed or checked, formula
        for name in computed:
            assert callable(resolve(mirrorflow, name)) or "." in name, name
        for name in checked:
            assert name in certificates.__all__, name


def test_every_certificate_has_its_formula():
    """A claim that can be checked has a place in the derivation."""
    made = {
        name
        for name in certificates.__all__
        if callable(entry := getattr(certificates, name))
        and not isinstance(entry, type)
        and typing.get_type_hints(entry).get("return") is certificates.Certificate
    }
    named = {name for _, _, checked in rows() for name in checked}
    assert len(made) > 25
    assert made - named == set()


def test_every_certificate_named_judges_claims():
    """Those of the last column are what the trials of the ledger and of `theorem23` compute."""
    files = [
        *(ROOT / "mirrorflow/claims").glob("*.py"),
        ROOT / "mirrorflow/sweep/theorem23_trials.py",
    ]
    used = set(re.findall(r"\w+", " ".join(file.read_text("utf-8") for file in files)))
    assert {name for _, _, checked in rows() for name in checked} - used == set()


def test_a_missing_name_is_found():
    with pytest.raises((AttributeError, ImportError)):
        resolve(mirrorflow, "certificates.no_such_check")


def test_notebooks_are_all_there():
    assert [source.stem[:2] for source in NOTEBOOKS] == [f"{i:02}" for i in range(1, 11)]


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
class TestNotebook:
    def test_pair_holds_the_same_cells(self, source):
        pair = jupytext.read(source), jupytext.read(source.with_suffix(".ipynb"))
        first, second = ([(c.cell_type, c.source) for c in one.cells] for one in pair)
        assert first == second, "run `make notebooks`"

    def test_says_what_it_shows_and_what_to_try(self, source):
        cells = [c.source for c in jupytext.read(source).cells if c.cell_type == "markdown"]
        title, *opening = cells[0].split("\n")
        assert title.startswith("# ")
        assert len("".join(opening)) > 150
        assert "## What to try" in cells[-1]

    def test_was_executed_from_top_to_bottom_without_error(self, source):
        cells = jupytext.read(source.with_suffix(".ipynb")).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        kinds = {output.output_type for cell in code for output in cell.outputs}
        assert "error" not in kinds
        assert not any(output.get("name") == "stderr" for cell in code for output in cell.outputs)

    def test_pictures_are_sharp_and_as_wide_as_a_page(self, source):
        drawn = 0
        for cell in jupytext.read(source.with_suffix(".ipynb")).cells:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                assert "image/png" in data or "<Figure" not in data.get("text/plain", "")
                if picture := data.get("image/png"):
                    shown = output.metadata["image/png"]["width"]  # CSS pixels, 100 an inch
                    wide = int.from_bytes(base64.b64decode(picture)[16:20], "big")
                    assert wide >= 2 * shown - 1
                    assert shown < 700
                    drawn += 1
        assert drawn >= max(1, source.read_text("utf-8").count("plt.show()"))
        assert source.with_suffix(".ipynb").stat().st_size < 2_000_000

    def test_holds_no_path_of_the_machine(self, source):
        notebook = json.loads(source.with_suffix(".ipynb").read_text("utf-8"))
        for cell in notebook["cells"]:
            for output in cell.get("outputs", []):
                for kind in [kind for kind in output.get("data", {}) if kind.startswith("image/")]:
                    del output["data"][kind]  # base64 may spell anything
        text = json.dumps(notebook)
        places = ["/tmp/", "/home/", "/root/", "/Users/", "site-packages", str(ROOT)]
        assert [place for place in places if place in text] == []

    def test_pictures_that_it_shows_exist(self, source):
        for linked in re.findall(r"!\[.*?\]\((.+?)\)", source.read_text("utf-8")):
            file = source.parent / linked
            assert 10_000 < file.stat().st_size < 1_500_000, linked


def test_closed_form_of_the_page_is_the_library_s():
    """Equations (3) and (5) as docs/theory.md writes them, against HyperbolicEntropy."""
    factors = mirrorflow.Factors([1.2, 0.3, -0.8], [0.5, -1.1, 0.4])
    g, total = np.array([0.3, -0.2, 0.1]), 0.7
    x = 0.5 * np.exp(-4 * total) * (factors.u**2 * np.exp(-2 * g) - factors.v**2 * np.exp(2 * g))
    potential = mirrorflow.HyperbolicEntropy.of(factors, total)
    assert potential.gradient(x) == pytest.approx(-g, rel=1e-12)
    a, c = np.abs(factors.u * factors.v) * np.exp(-4 * total), np.log(np.abs(factors.u / factors.v))
    value = 0.5 * np.sum(x * np.arcsinh(x / a) - np.hypot(x, a) - c * x)
    assert potential.value(x) == pytest.approx(value, rel=1e-12)
