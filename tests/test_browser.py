"""The browser of the tests: values, promises, console errors, colour scheme."""

from __future__ import annotations

import pytest
from browser import served, visit, visits

PAGE = """<!DOCTYPE html><title>A page</title><link rel="icon" href="data:,">
<style>body { background: rgb(255, 255, 255); }
@media (prefers-color-scheme: dark) { body { background: rgb(0, 0, 0); } }</style>
<script>console.log("said"); SCRIPT</script>"""
COLOUR = "getComputedStyle(document.body).backgroundColor"
LATER = "await new Promise(done => setTimeout(() => done({late: [1, 2]}), 20))"


def test_pages_answer_and_errors_are_heard(tmp_path):
    (tmp_path / "good.html").write_text(PAGE.replace("SCRIPT", ""), "utf-8")
    (tmp_path / "bad.html").write_text(PAGE.replace("SCRIPT", "absent();"), "utf-8")
    picture = tmp_path / "picture.png"
    with served(tmp_path) as address:
        pages = [(f"{address}/{name}.html", []) for name in ("good", "bad", "good")]
        asked = [*pages, (f"{address}/good.html", ["document.title", LATER, COLOUR, "innerWidth"])]
        good, bad, again, last = visits(asked, width=400, picture=picture)
        (colour,), errors = visit(f"{address}/good.html", [COLOUR], dark=True)
        (found,), missing = visit(f"{address}/none.html", ["document.title"])
    assert good == again == ([], [])
    assert len(bad[1]) == 1
    assert "absent is not defined" in bad[1][0]
    assert last == (["A page", {"late": [1, 2]}, "rgb(255, 255, 255)", 400], [])
    assert (colour, errors) == ("rgb(0, 0, 0)", [])
    assert found != "A page"
    assert missing
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_expression_that_fails_fails_the_test(tmp_path):
    (tmp_path / "good.html").write_text(PAGE.replace("SCRIPT", ""), "utf-8")
    with pytest.raises(AssertionError, match="absent: ReferenceError"):
        visit((tmp_path / "good.html").as_uri(), ["absent"])
