"""Page of result folders: its templates, filled with what the folders say."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mirrorflow.runs.report.contents import Contents
from mirrorflow.runs.report.rows import failures, rows_table, same_in_all
from mirrorflow.runs.report.text import counted, number, plain

__all__ = ["POLICY", "SCRIPT", "page"]

SCRIPT = (Path(__file__).parent / "script.js").read_text(encoding="utf-8")
_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
# whatever got into the page: it can load nothing, send nothing, run nothing but this script
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    f"form-action 'none'; script-src 'sha256-{_DIGEST}'"
)


def page(*folders: Contents, title: str = "", about: Sequence[str] = ()) -> str:
    """The HTML of one report on result folders; every text in it is escaped.

    Where there are several, `title` and the sentences `about` stand above them.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain, "number": number, "counted": counted}
    parts = []
    for i, contents in enumerate(folders, 1):
        anchor = f"part-{i}" if len(folders) > 1 else ""
        html = environment.get_template("folder.html").render(
            contents=contents,
            anchor=anchor,
            failures=failures(contents.failed),
            table=rows_table(contents.rows, contents.failed),
            same=same_in_all(contents.rows),
        )
        parts.append((anchor, contents.title, Markup(html.strip())))
    whole = environment.get_template("page.html").render(
        parts=parts,
        policy=POLICY,
        script=Markup(SCRIPT),
        title=title or folders[0].title,
        about=about,
    )
    return whole.lstrip()
