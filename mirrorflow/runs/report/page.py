"""The page itself: one section after the other, in the order in which one asks."""

from __future__ import annotations

import base64
from typing import Any

from mirrorflow.runs.report.contents import Claim, Contents, Figure, listing, mapping
from mirrorflow.runs.report.markup import code, escaped, number, table
from mirrorflow.runs.report.rows import failures, rows_table, same_in_all
from mirrorflow.runs.report.style import STYLE

__all__ = ["POLICY", "page"]

# whatever got into the page: it can load nothing, send nothing, run nothing
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)
LONGEST_VALUE = 300  # characters of a setting


def page(contents: Contents) -> str:
    """The HTML of a folder's report; every text in it is escaped."""
    sections = {
        "Failed runs": _failed(contents),
        "Verdicts": _verdicts(contents),
        "Summary": _summary(contents),
        "Figures": _figures(contents),
        "Rows": _rows(contents),
        "Configuration": _settings(contents),
        "Environment": _environment(contents),
    }
    there = {name: text for name, text in sections.items() if text}
    parts = [
        f'<section id="{_anchor(name)}"{_kind(name)}>\n<h2>{name}</h2>\n{text}\n</section>'
        for name, text in there.items()
    ]
    links = "".join(f'<a href="#{_anchor(name)}">{name}</a>' for name in there)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escaped(contents.title, 200)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"{_header(contents, links)}\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def _kind(name: str) -> str:
    return {"Failed runs": ' class="failed"', "Rows": ' class="rows"'}.get(name, "")


def _header(contents: Contents, links: str) -> str:
    environment = mapping(contents.manifest.get("environment"))
    facts = [f"{len(contents.rows)} rows"]
    if len(contents.failed):
        facts.append(f"{len(contents.failed)} failed runs")
    if contents.text("written"):
        facts.append(f"written {escaped(contents.text('written'), 40)}")
    commit = environment.get("git_commit")
    if isinstance(commit, str) and commit:
        changed = " with uncommitted changes" if environment.get("git_dirty") is True else ""
        facts.append(f"commit {escaped(commit[:12])}{changed}")
    command = code(contents.text("command")) if contents.text("command") else ""
    return (
        f"<header>\n<h1>{escaped(contents.title, 200)}</h1>\n"
        f'<p class="soft">{" · ".join(facts)}</p>\n{command}\n'
        f'<nav aria-label="Sections">{links}</nav>\n</header>'
    )


def _failed(contents: Contents) -> str:
    if contents.failed.empty:
        return ""
    count = len(contents.failed)
    said = "1 run has" if count == 1 else f"{count} runs have"
    words = "no verdict, figure or number below; the same command tries again."
    return f"<p>{said} {words}</p>\n{failures(contents.failed)}"


def _verdicts(contents: Contents) -> str:
    remarks = "".join(f"<li>{escaped(remark)}</li>" for remark in contents.remarks)
    parts = [f"<p>{escaped(contents.note)}</p>"] if contents.note else []
    if contents.claims:
        headings = ["claim", "trials", "worst value", "bound", "verdict"]
        rows = [_claim(claim) for claim in contents.claims]
        parts.insert(0, table(headings, rows, [False, True, True, True, False], "Verdicts"))
    return "\n".join([*parts, f"<ul>{remarks}</ul>" if remarks else ""]).strip()


def _claim(claim: Claim) -> list[str]:
    kind, sign = ("good", "✓") if claim.expected else ("bad", "✗")
    said = f'<span class="{kind}">{sign} {escaped(claim.verdict, 100)}</span>'
    value, bound = number(claim.value, ".1e"), number(claim.bound, ".1e")
    return [escaped(claim.claim, 300), escaped(claim.trials, 20), value, bound, said]


def _summary(contents: Contents) -> str:
    printed = contents.text("printed")
    summary = mapping(contents.manifest.get("summary"))
    headings = [escaped(text, 100) for text in listing(summary.get("headings"))]
    if not headings:
        return code(printed) if printed else ""
    rows = []
    for row in map(listing, listing(summary.get("rows"))):
        cells = [escaped(cell, 100) for cell in row[: len(headings)]]
        rows.append(cells + [""] * (len(headings) - len(cells)))
    numeric = [i >= 2 for i in range(len(headings))]
    title = escaped(summary.get("title"), 200)
    return f"<p>{title}</p>\n{table(headings, rows, numeric, 'Summary')}"


def _figures(contents: Contents) -> str:
    parts = [_figure(figure, contents.title) for figure in contents.figures]
    parts += [f"<p>Left out: {escaped(sentence, 300)}</p>" for sentence in contents.left_out]
    return "\n".join(parts)


def _figure(figure: Figure, title: str) -> str:
    caption = f"{escaped(title, 200)} ({escaped(figure.name)})"
    data = base64.b64encode(figure.content).decode()
    return (
        f'<figure>\n<img alt="{caption}" width="{figure.width}" height="{figure.height}" '
        f'src="data:image/png;base64,{data}">\n<figcaption>{caption}</figcaption>\n</figure>'
    )


def _rows(contents: Contents) -> str:
    if contents.rows.empty and contents.failed.empty:
        return "<p>No run has finished.</p>"
    listed, said = rows_table(contents.rows, contents.failed)
    same = [
        [escaped(name, 60), escaped(value, LONGEST_VALUE), escaped(unit, 60)]
        for name, value, unit in same_in_all(contents.rows)
    ]
    parts = [f"<p>{said}</p>", listed]
    if same:
        shared = table(["column", "value", "unit"], same, [False] * 3, "The same in all rows")
        parts.append(f"<details><summary>The same in all rows</summary>\n{shared}</details>")
    return "\n".join(parts)


def _settings(contents: Contents) -> str:
    pairs = contents.pairs("configuration")
    return _pairs(pairs, "setting", "Configuration") if pairs else ""


def _environment(contents: Contents) -> str:
    environment = mapping(contents.manifest.get("environment"))
    packages = mapping(environment.get("packages"))
    pairs = [(name, value) for name, value in environment.items() if name != "packages"]
    parts = [_pairs([*pairs[:100], *list(packages.items())[:100]], "what", "Environment")]
    digests = [*contents.pairs("sha256"), *contents.pairs("figures")]
    if digests:
        files = [
            [escaped(name, 100), f'<span class="digest">{escaped(digest, 64)}</span>']
            for name, digest in digests
        ]
        parts += ["<h3>Files</h3>", table(["file", "SHA-256"], files, [False, False], "Files")]
    return "\n".join(parts)


def _pairs(pairs: list[tuple[str, Any]], heading: str, name: str) -> str:
    rows = [[escaped(key, 100), escaped(value, LONGEST_VALUE)] for key, value in pairs]
    return table([heading, "value"], rows, [False, False], name)
