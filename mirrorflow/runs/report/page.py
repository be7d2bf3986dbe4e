"""Page of a result folder: its template, filled with what the folder says."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mirrorflow.runs.report.contents import Contents
from mirrorflow.runs.report.rows import failures, rows_table, same_in_all
from mirrorflow.runs.report.text import counted, number, plain

__all__ = ["POLICY", "page"]

# whatever got into the page: it can load nothing, send nothing, run nothing
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)


def page(contents: Contents) -> str:
    """The HTML of a folder's report; every text in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain, "number": number, "counted": counted}
    html = environment.get_template("page.html").render(
        contents=contents,
        policy=POLICY,
        failures=failures(contents.failed),
        table=rows_table(contents.rows, contents.failed),
        same=same_in_all(contents.rows),
    )
    return html.lstrip()
