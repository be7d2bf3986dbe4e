"""Sphinx settings of the documentation, `make docs`: pages, notebooks as they are, API, formulas.

Nothing is fetched when a page is opened: MathJax comes from the package sphinx-mathjax-offline,
of which the files that these pages use are copied; fonts are the reader's own.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import shutil
from pathlib import Path

import mirrorflow

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "docs" / "notebooks"  # copies, git-ignored
# pages that other commands write; those that are there become part of the site
PAGES = {
    "explorer": ("move the sliders and see the bias change", ROOT / "build/explorer/index.html"),
    "jacobs2025": (
        "`mirrorflow reproduce jacobs2025`, the paper's studies and ledger on one page",
        ROOT / "results/reproduce/jacobs2025.html",
    ),
}

project = "mirrorflow"
author = "The mirrorflow developers"
copyright = "the mirrorflow developers, MIT licence"
version = release = mirrorflow.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_copybutton",
]
exclude_patterns = ["_templates", "jupyter_execute"]
templates_path = ["_templates"]
default_role = "py:obj"  # `name` in a docstring is a link where that name is documented
nitpicky = True
nitpick_ignore_regex = [("py:obj", ".*"), ("py:class", ".*"), ("py:func", "sklearn.*")]
suppress_warnings = ["myst.xref_ambiguous"]

mathjax_path = "mathjax/tex-chtml.js"
html_theme = "furo"
html_title = f"mirrorflow {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#005b96", "color-brand-content": "#005b96"},
    "dark_css_variables": {"color-brand-primary": "#7cc4ff", "color-brand-content": "#7cc4ff"},
}

myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
myst_fence_as_directive = ["math"]  # as GitHub writes displayed formulas
nb_execution_mode = "off"  # the committed outputs are shown
nb_merge_streams = True

autodoc_typehints = "none"  # the docstrings say shapes, units and ranges
autodoc_member_order = "bysource"
autosummary_generate = True
autosummary_ignore_module_all = False
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


# ---- notebooks: copies beside the pages, and a gallery of them


def _thumbnail(cells: list[dict], stem: str) -> str:
    """File name of a notebook's first picture, or of the study's figure where it has none."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    for output in outputs:
        data = output.get("data", {})
        if "image/svg+xml" in data:
            (NOTEBOOKS / f"{stem}.svg").write_text("".join(data["image/svg+xml"]), "utf-8")
            return f"{stem}.svg"
        if "image/png" in data:
            (NOTEBOOKS / f"{stem}.png").write_bytes(base64.b64decode("".join(data["image/png"])))
            return f"{stem}.png"
    shutil.copy(ROOT / "figures" / "theorem23.png", NOTEBOOKS / f"{stem}.png")
    return f"{stem}.png"


def _gallery() -> None:
    """Copy the notebooks with their links set right, and write the page that shows them."""
    shutil.rmtree(NOTEBOOKS, ignore_errors=True)
    NOTEBOOKS.mkdir()
    cards, names = [], []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text = path.read_text("utf-8").replace("](../docs/", "](../")
        text = text.replace("](../figures/", "](../../figures/")
        (NOTEBOOKS / path.name).write_text(text, "utf-8")
        cells = json.loads(text)["cells"]
        opening = "".join(cells[0]["source"])
        title, _, rest = opening.lstrip("# ").partition("\n")
        about = re.split(r"(?<=[.:])\s", " ".join(rest.split()), maxsplit=1)[0]
        names.append(path.stem)
        picture = _thumbnail(cells, path.stem)
        cards += [f":::{{grid-item-card}} {title}", f":link: {path.stem}", ":link-type: doc"]
        cards += [f":img-top: {picture}", "", about, ":::"]
    text = "# Gallery\n\nNotebooks with their outputs, one idea each. They run in seconds from a "
    text += 'clone: `pip install -e ".[dev]" jupyterlab`, then `jupyter lab notebooks`.\n\n'
    text += "\n".join(["::::{grid} 1 2 2 3", ":gutter: 3", *cards, "::::", ""])
    for name, (about, page) in PAGES.items():
        if page.exists():
            text += f"\n- <a href='../pages/{name}.html'>{name}</a>: {about}\n"
    text += "\n".join(["", "```{toctree}", ":hidden:", "", *names, "```", ""])
    (NOTEBOOKS / "index.md").write_text(text, "utf-8")


def _site_links(app, docname: str, source: list[str]) -> None:
    """Links that are right in the repository, to ../notebooks/, lead to the copies."""
    if not docname.startswith("notebooks/"):
        source[0] = source[0].replace("](../notebooks/", "](notebooks/")
        source[0] = source[0].replace("](../../notebooks/", "](../notebooks/")


# ---- docstrings: plain text with formulas, as reStructuredText


def _escape(line: str) -> str:
    """|x|, x* and coef_ are formulas and names, not markup; text in backticks stays."""
    parts = re.split(r"(``.+?``|`[^`]+`)", line)
    for i in range(0, len(parts), 2):
        parts[i] = re.sub(r"([*|\\])", r"\\\1", parts[i])
        parts[i] = re.sub(r"(?<=\w)_(?=\W|$)", r"\\_", parts[i])
    for i in range(1, len(parts), 2):  # `r + s` is code and no name
        if not re.fullmatch(r"`[\w.]+`", parts[i]):
            parts[i] = f"``{parts[i].strip('`')}``"
    return "".join(parts)


def _docstring(app, what, name, obj, options, lines: list[str]) -> None:
    """Formulas that are set off by indentation become literal blocks; markup is escaped."""
    made: list[str] = []
    before, literal, example = 0, None, False
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            example = False
            made.append("")
            continue
        example = example or line.lstrip().startswith(">>>")
        if literal is not None and indent < literal:
            literal = None
        blank = i > 0 and not lines[i - 1].strip()
        if literal is None and not example and blank and indent > before:
            made += [" " * before + "::", ""]
            literal = indent
        made.append(line if example or literal is not None else _escape(line))
        if literal is None:
            before = indent
    lines[:] = made


def _reference(app, env, node, contnode):
    """A name that a docstring says without its module, where the site documents it."""
    target, domain = node.get("reftarget", ""), env.get_domain("py")
    if node.get("refdomain") != "py":
        return None
    for prefix in ("", "certificates.", "pilot.", "descent.", "plots.", "results.", "commuting."):
        name = f"mirrorflow.{prefix}{target}"
        if name in domain.objects:
            builder, page = app.builder, node["refdoc"]
            return domain.resolve_xref(env, page, builder, "obj", name, node, contnode)
    return None


def _pages(app, exception) -> None:
    """Put the pages of other commands beside those of the site."""
    (Path(app.outdir) / "pages").mkdir(exist_ok=True)
    for name, (_, page) in PAGES.items():
        if page.exists():
            shutil.copy(page, Path(app.outdir) / "pages" / f"{name}.html")


def _mathjax(app, exception) -> None:
    """Put MathJax with its fonts beside the other static files."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if exception is not None or package is None or package.origin is None:
        return
    source = Path(package.origin).parent / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in ("output/chtml", "input/tex/extensions"):
        shutil.copytree(source / part, target / part, dirs_exist_ok=True)
    shutil.copy(source / "tex-chtml.js", target)


def setup(app) -> dict[str, bool]:
    _gallery()
    shutil.rmtree(ROOT / "docs" / "api" / "generated", ignore_errors=True)  # names that are gone
    app.connect("build-finished", _mathjax)
    app.connect("build-finished", _pages)
    app.connect("source-read", _site_links)
    app.connect("autodoc-process-docstring", _docstring, priority=100)
    app.connect("missing-reference", _reference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
