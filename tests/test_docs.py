"""The documentation: examples run and print what they say, pages and links hang together."""

from __future__ import annotations

import contextlib
import io
import re
import runpy
from pathlib import Path

import pytest
from test_docstrings import public

import mirrorflow.claims  # noqa: F401  (registers the claims)
from mirrorflow.claims.registry import CLAIMS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "notebooks" not in path.parts)
EXAMPLES = [DOCS / "getting_started.md", *sorted((DOCS / "howto").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run_and_print_what_they_say(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "example"}
    found = BLOCK.findall(path.read_text("utf-8"))
    assert found
    for code, printed in found:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            exec(compile(code, path.name, "exec", dont_inherit=True), names)
        if printed:
            assert text.getvalue() == printed


def links(path: Path) -> list[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`", "", text)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def anchors(path: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_link_targets_exist(path):
    for link in links(path):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if DOCS / "notebooks" in target.parents:  # written by docs/conf.py
            target = ROOT / target.relative_to(DOCS)
            target = target.parent if target.name == "index.md" else target
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_in_a_table_of_contents():
    blocks = re.compile(r"^```\{toctree\}\n(.*?)^```|^\.\. toctree::\n(.*?)(?=^\S|\Z)", re.M | re.S)
    listed = {"index"}
    for path in [*PAGES, *DOCS.rglob("*.rst")]:
        folder = path.relative_to(DOCS).parent
        for block in blocks.findall(path.read_text("utf-8")):
            entries = [line.strip() for line in "".join(block).splitlines()]
            listed |= {str(folder / e) for e in entries if e and not e.startswith(":")}
    pages = {str(p.relative_to(DOCS).with_suffix("")) for p in [*PAGES, *DOCS.glob("api/*.rst")]}
    assert pages | {"notebooks/index"} == listed


def test_the_api_lists_every_public_name():
    listed = []
    for page in (DOCS / "api").glob("*.rst"):
        module = ""
        for line in page.read_text("utf-8").splitlines():
            module = line.removeprefix(".. currentmodule:: ") if "currentmodule" in line else module
            if re.fullmatch(r"   \w+", line) and module:
                listed.append(f"{module}.{line.strip()}")
    assert sorted(listed) == sorted(public())


def test_formulas_of_the_theory_are_typeset():
    """None is left in Unicode, none has what GitHub reads as an escape, such as a comma's."""
    text = (DOCS / "theory.md").read_text("utf-8")
    text = re.sub(r"^```math\n.*?^```\n", "", text, flags=re.DOTALL | re.MULTILINE)
    assert text.isascii()
    for line in re.split(r"\n\n|(?<=\|)\n", text):
        assert line.count("$") % 2 == 0, line
    formulas = re.findall(r"\$[^$]*\$", text)
    assert len(formulas) > 300
    for formula in formulas:
        assert not re.search(r"\\[^A-Za-z]|[|*\n]|^\$\s|\s\$$", formula), formula
        assert formula.count("{") == formula.count("}")


def test_errata_are_the_printed_claims_of_the_ledger():
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in (DOCS / "errata.md").read_text("utf-8").splitlines()
        if line.startswith("| `")
    ]
    stated = {row[0].strip("| `"): (row[1], row[-1].strip("| `")) for row in rows}
    printed = {key: claim for key, claim in CLAIMS.items() if claim.kind == "printed"}
    assert stated == {key: (claim.source, claim.corrected) for key, claim in printed.items()}
    assert all(len(row) == 5 for row in rows)


def test_docstrings_are_text_and_not_markup():
    conf = runpy.run_path(str(DOCS / "conf.py"))
    escaped = conf["_escape"]("|x| at x* of coef_, x_t and `a|b`, as `interpolator`")
    assert escaped == r"\|x\| at x\* of coef\_, x_t and ``a|b``, as `interpolator`"
    lines = ["A formula", "", "    a = |b|", "", "and x*", "", ">>> 2 * 3", "6"]
    conf["_docstring"](None, "function", "f", None, None, lines)
    expected = ["A formula", "", "::", "", "    a = |b|", "", r"and x\*", "", ">>> 2 * 3", "6"]
    assert lines == expected


def test_the_gallery_shows_every_notebook_by_a_picture_of_its_own(tmp_path):
    """The part of `make docs` that needs no Sphinx."""
    gallery = runpy.run_path(str(DOCS / "conf.py"))["_gallery"]
    gallery.__globals__["NOTEBOOKS"] = tmp_path / "notebooks"
    gallery()
    index = (tmp_path / "notebooks" / "index.md").read_text("utf-8")
    pictures = {}
    for source in (ROOT / "notebooks").glob("*.ipynb"):
        assert f":link: {source.stem}\n" in index
        assert (tmp_path / "notebooks" / source.name).is_file()
        pictures[source.stem] = (tmp_path / "notebooks" / f"{source.stem}.png").read_bytes()
    assert len(set(pictures.values())) == len(pictures) == 10
