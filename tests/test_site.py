"""The built documentation, opened in a browser: no error, no broken link, a search that finds."""

from __future__ import annotations

import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import engine, recipe, served, visits

ROOT = Path(__file__).parents[1]
# read in full by the browser; of the others, which templates make alike, links are read alone
OPENED = ["index.html", "theory.html", "atlas.html", "claims.html", "notebooks/index.html"]
OPENED += ["howto/pilot.html", "api/index.html", "api/certificates.html", "faq.html"]
OPENED += ["api/generated/mirrorflow.gradient_flow.html", "notebooks/02_l2_to_l1_transition.html"]
FORMULAS = (
    "await MathJax.startup.promise.then(() => document.querySelectorAll('mjx-container').length)"
)
FAULTS = "document.querySelectorAll('mjx-merror, .problematic, .system-message').length"
IMAGES = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
WIDTH = "document.documentElement.scrollWidth > window.innerWidth"
SEARCH = """await new Promise(done => {
    const look = () => {
        const links = [...document.querySelectorAll('#search-results li a')];
        const found = links.map(a => a.textContent);
        const said = document.querySelector('#search-results .search-summary');
        if (said && /found|find|match/i.test(said.textContent) && found.length) done(found);
        else setTimeout(look, 50);
    };
    look();
})"""


class Page(HTMLParser):
    """Anchors and addresses of a page, and what it loads by itself."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.ids |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag == "link" and values.get("rel") not in ("canonical",) and values.get("href"):
            self.loaded.append(values["href"])
        if tag in ("script", "img", "iframe", "source", "video") and values.get("src"):
            self.loaded.append(values["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `make docs` builds it, in a folder of its own."""
    pytest.importorskip("sphinx", reason="pip install mirrorflow[site]")
    folder = tmp_path_factory.mktemp("site")
    command = [*recipe("docs", folder / "html"), "-d", str(folder / "trees")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


@pytest.mark.slow
def test_no_link_is_broken(pages):
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "data", "mailto"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                broken.append((path.name, link))
            elif parts.fragment and target in pages and link in page.links:
                missing = unquote(parts.fragment) not in pages[target].ids
                broken += [(path.name, link)] * missing
    assert len(pages) > 200
    assert broken == []


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site, pages):
    loaded = {link for page in pages.values() for link in page.loaded}
    assert [link for link in loaded if urlsplit(link).scheme in ("http", "https")] == []
    assert [link for link in loaded if link.startswith("//")] == []
    for sheet in site.rglob("*.css"):
        text = sheet.read_text("utf-8")
        assert "url(http" not in text, sheet
        assert "@import" not in text, sheet


@pytest.mark.slow
def test_pages_open_without_an_error_and_search_finds(site):
    engine()
    with served(site) as address:
        asked = [(f"{address}/{page}", [FAULTS, IMAGES, WIDTH]) for page in OPENED]
        asked[1][1].insert(0, FORMULAS)
        asked.append((f"{address}/search.html?q=saddle", [SEARCH]))
        *answers, (found, errors) = visits(asked)
        narrow = visits([(f"{address}/{page}", [WIDTH]) for page in OPENED], width=400)
        wide = visits([(f"{address}/{page}", [WIDTH]) for page in OPENED], width=1900)
    formulas = answers[1][0].pop(0)
    assert formulas > 20
    assert dict(zip(OPENED, answers, strict=True)) == dict.fromkeys(OPENED, ([0, [], False], []))
    assert dict(zip(OPENED, narrow, strict=True)) == dict.fromkeys(OPENED, ([False], []))
    assert narrow == wide
    assert errors == []
    assert any("saddle_path" in name for name in found[0])
