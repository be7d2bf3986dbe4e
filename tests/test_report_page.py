"""The HTML report: complete, closed to the network, and unmoved by hostile folders."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import browser
import numpy as np
import pandas
import pytest

from mirrorflow import InputError
from mirrorflow.results import Folder, Run
from mirrorflow.runs.report import Contents, page
from mirrorflow.runs.report import contents as contents_module
from mirrorflow.runs.report.contents import Figure
from mirrorflow.runs.report.page import POLICY, SCRIPT
from mirrorflow.runs.report.rows import Column, failures, rows_table, same_in_all
from mirrorflow.runs.report.text import counted, number, plain
from mirrorflow.sweep import __main__ as cli
from mirrorflow.sweep.theorem23 import Theorem23

VOID = {"meta", "link", "img", "br", "wbr", "input", "hr"}
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\x00\x1b[31m\u202e\ud800"


class Page(HTMLParser):
    """Elements and text of a page, with its nesting checked."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += "" if self.open[-1:] == ["script"] else data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def checked(text: str) -> Page:
    """The page, after what must hold whatever is in it."""
    found = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert found.all("html") == [{"lang": "en"}]
    policies = [m["content"] for m in found.all("meta") if "http-equiv" in m]
    assert policies == [POLICY]
    assert "default-src 'none'" in POLICY
    # before anything that it governs
    first = next(i for i, (_, a) in enumerate(found.elements) if "http-equiv" in a)
    assert [tag for tag, _ in found.elements[:first]] == ["html", "head", "meta"]
    tags = {tag for tag, _ in found.elements}
    assert found.all("script") == [{}]
    assert text.count(f"<script>{SCRIPT}</script>") == 1
    assert not tags & {"iframe", "object", "embed", "form", "base", "svg", "audio"}
    for tag, attributes in found.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("href", "src", "srcset", "action", "style"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), tag
    assert all(image["alt"] for image in found.all("img"))
    assert "url(" not in text
    assert "@import" not in text
    levels = [int(tag[1]) for tag in (t for t, _ in found.elements) if tag in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    anchors = {a["id"] for _, a in found.elements if "id" in a}
    assert {a["href"] for a in found.all("a")} == {f"#{anchor}" for anchor in anchors}
    assert not [c for c in found.words if ord(c) < 32 and c != "\n"]
    assert "\u202e" not in text
    text.encode()
    return found


def png(width: int = 3, height: int = 2) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    lines = b"".join(b"\0" + bytes(width) for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


CLAIM = {"claim": "Zx → y", "trials": 3, "value": 1e-9, "bound": 1e-6, "verdict": "confirmed"}
SAID = {
    "study": "test",
    "title": "A study <b>",
    "claims": {
        "title": "A study",
        "note": "What worst means.",
        "claims": [{**CLAIM, "expected": True}, {**CLAIM, "verdict": "refuted in 2"}],
    },
    "remarks": ["One flow had not arrived."],
    "summary": {"title": "Means", "headings": ["a", "b", "A=1"], "rows": [["x", "y", "0.5"]]},
}


def result(path: Path, count: int = 3, failing: int = 0, said: dict | None = None) -> Path:
    """A result folder of a study; runs with the largest seeds failed."""
    folder = Folder(path)
    folder.units = {"distance": "units of x"}
    runs = [Run({"study": "test", "seed": seed, "rate": 0.5}, "d") for seed in range(count)]
    for run in runs[: count - failing]:
        seed = run.spec["seed"]
        row = {"status": "ok", "distance": 1.5 * seed, "wall_seconds": 0.25 + seed}
        row |= {"gap": 1e-9 * seed, "gap_bound": 1e-9 * (seed + 1), "gap_holds": seed != 1}
        folder.write(run, {**row, "word": f"w{seed}"}, {"x": np.arange(2.0)})
    for run in runs[count - failing :]:
        folder.fail(run, "Traceback <of>\nZeroDivisionError: here", 3)
    folder.consolidate(runs, "python -m study --a '<x>'", {"seeds": count, "rates": [0.5, 1.0]})
    (path / "one.png").write_bytes(png())
    (path / "one.pdf").write_bytes(b"%PDF")
    folder.conclude(SAID if said is None else said, [path / "one.png", path / "one.pdf"])
    return path


def test_the_page_says_what_the_folder_says(tmp_path, capsys):
    folder = result(tmp_path / "out")
    assert cli.main(["report", str(folder)]) == 0
    assert f"{folder}/report.html: rows 3, figures 1" in capsys.readouterr().out
    text = (folder / "report.html").read_text()
    found = checked(text)
    manifest = json.loads((folder / "manifest.json").read_text())
    for words in (
        "A study <b>",
        "python -m study --a '<x>'",
        "What worst means.",
        "One flow had not arrived.",
        "Zx → y",
        "1.0e−09",
        "✓ confirmed",
        "✗ refuted in 2",
        "Means",
        "0.5, 1",
        manifest["environment"]["packages"]["numpy"],
        *manifest["sha256"].values(),
        *manifest["figures"].values(),
    ):
        assert words in found.words
    (image,) = found.all("img")
    assert (image["width"], image["height"]) == ("3", "2")
    assert image["alt"] == "A study <b>, one.png"
    assert "A study <b>, one.png. Drawn from 3 rows with seeds 3, rates 0.5, 1." in found.words
    assert "distance units of x" in found.words
    assert "wall_seconds s" in found.words
    assert "✗ 1e−09" in found.words  # the certificate that does not hold, and only this one
    assert found.words.count("✗") == 2
    assert "gap_bound" not in found.words
    assert "3 rows." in found.words
    assert "Failed runs" not in found.words
    assert "<title>A study &lt;b&gt;</title>" in text
    same = found.words[found.words.index("The same in all rows") :]
    assert "rate0.5" in same.replace("\n", "")
    assert cli.main(["report", str(folder), "--page", str(tmp_path / "p.html")]) == 0
    assert (tmp_path / "p.html").read_text() == text


def test_several_folders_share_a_page(tmp_path, capsys):
    one, two = result(tmp_path / "one"), result(tmp_path / "two", failing=1)
    assert cli.main(["report", str(one), str(two)]) == 0
    assert "rows 5, figures 2, failed runs 1" in capsys.readouterr().out
    found = checked((one / "report.html").read_text(encoding="utf-8"))
    assert len(found.all("article")) == 2
    assert "2 studies" in found.words
    assert {"part-1", "part-2", "part-2-rows"} <= {a.get("id") for _, a in found.elements}
    assert cli.main(["report"]) == 2
    assert "FOLDER must name at least one" in capsys.readouterr().err


def test_failed_runs_come_first(tmp_path):
    found = checked(page(Contents.of(result(tmp_path, count=5, failing=2))))
    assert "Failed runs\n2 runs have no verdict" in found.words
    assert "2 runs, after 3 attempts:Traceback <of>\nZeroDivisionError: here" in found.words
    rows = found.words[found.words.index("\nRows\n") :]
    assert rows.index("failed") < rows.index("w0")
    assert "5 rows." in rows


def test_rows_beyond_a_page_are_counted(tmp_path):
    found = checked(page(Contents.of(result(tmp_path, count=310))))
    assert "The first 300 of 310 rows; rows.parquet holds the rest." in found.words
    assert "w299" in found.words
    assert "w300" not in found.words


def test_folders_of_gpu_bench_and_of_commands_without_conclusions(tmp_path):
    printed = {"study": "one-shot", "title": "one-shot", "printed": "┃ method ┃\n│ pilot  │"}
    found = checked(page(Contents.of(result(tmp_path / "gpu", said=printed))))
    assert "┃ method ┃\n│ pilot  │" in found.words
    folder = Folder(tmp_path / "bare")
    folder.write(Run({"seed": 0}, "d"), {"a": 1.0}, {})
    folder.consolidate([Run({"seed": 0}, "d")], "", {})
    found = checked(page(Contents.of(tmp_path / "bare")))
    assert "Verdicts" not in found.words
    assert "bare" in found.words
    folder.consolidate([], "", {})
    assert "No run has finished." in checked(page(Contents.of(tmp_path / "bare"))).words


def test_a_study_with_failed_runs_is_judged_by_the_others(tmp_path, monkeypatch, capsys):
    """From the command to the page: verdicts, remarks and figures know finished rows only."""
    flags = ["--problem", "gaussian", "--n", "4", "--d", "8", "--k", "1", "--totals", "0", "--jobs"]
    flags += ["1", "--transition-betas", "50", "--out", str(tmp_path)]
    assert cli.main([*flags, "--seeds", "1"]) == 0
    before = json.loads((tmp_path / "manifest.json").read_text())

    def broken(specs):
        raise ZeroDivisionError("of this test")

    broken.__module__ = (
        Theorem23.compute.__module__
    )  # a run's digest is of the module that computes it
    monkeypatch.setattr(Theorem23, "compute", staticmethod(broken))
    for run in cli.PROGRAM.configure("theorem23", [*flags, "--seeds", "2"]).runs():
        if run.spec["seed"] == 1:
            Folder(tmp_path).fail(run, "ZeroDivisionError: of this test", 3)
    capsys.readouterr()
    assert cli.main([*flags, "--seeds", "2"]) == 1
    assert "ZeroDivisionError: of this test" in capsys.readouterr().err
    after = json.loads((tmp_path / "manifest.json").read_text())
    assert (after["runs"], after["failed"]) == (before["runs"], 1)
    for name in ("claims", "remarks", "summary", "study"):
        assert after[name] == before[name]
    contents = Contents.of(tmp_path)
    assert len(contents.failed) == 1
    assert contents.rows["signs_lost"].dtype == "bool"
    found = checked(page(contents))
    assert "1 run has no verdict" in found.words
    assert "ZeroDivisionError: of this test" in found.words


# ---- texts, tables and figures by themselves


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "yes"),
        (False, "no"),
        (None, "–"),
        (-3, "-3"),
        (0.12345678, "0.123457"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b\u202e\ud800", 3 * "\N{REPLACEMENT CHARACTER}"),
        ([1, [2, [3, [4]]]], "1, 2, 3, …"),
        ({"a": (1, 2.5), "b": {"c": None}}, "a: 1, 2.5, b: c: –"),
        ([7] * 50, ", ".join(["7"] * 50)),
        ([7] * 51, ", ".join(["7"] * 50) + ", … (51 in all)"),
        (dict.fromkeys(range(51), 0), ", ".join(f"{i}: 0" for i in range(50)) + ", … (51 in all)"),
        (Path("a/b"), "a/b"),
    ],
    ids=str,
)
def test_any_value_is_one_text(value, text):
    assert plain(value) == text
    for longest in (1, len(text) - 1, len(text)):
        assert plain(text, longest) == plain(text)[:longest] + "…" * (longest < len(text))


def test_a_long_entry_of_a_list_takes_no_more_than_a_text():
    assert plain(["x" * 50, "y"], 9) == "x" * 9 + "…"
    assert plain(["x" * 9, "y"], 20) == "x" * 9 + ", y"


def test_numbers_of_a_page():
    given = (math.nan, math.inf, -math.inf, -1.5e-9, 2.0)
    assert [number(x, ".1e") for x in given] == ["–", "∞", "−∞", "−1.5e−09", "2.0e+00"]
    assert [counted(n, "run", "runs") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def frame(columns: dict, **units: str) -> pandas.DataFrame:
    made = pandas.DataFrame(columns)
    made.attrs["units"] = units
    return made


def test_a_certificate_is_one_column():
    """Of a value, a bound and whether it holds; columns that only look like these stay."""
    holds = [True, False]
    made = frame(
        {
            **{"a": [0.5, 1.5], "a_bound": [1.0, 1.25], "a_holds": holds},
            **{"b_bound": [1, 2], "c_holds": holds, "d": ["x", "y"], "d_bound": [3, 4]},
            **{"same": [7, 7], "same_unit": [2.5, 2.5], "none": [None, None]},
        },
        a="m",
        same_unit="s",
    )
    table = rows_table(made, made.iloc[:0])
    assert table.about == "2 rows."
    assert table.columns == [
        *(Column("a", "m", True), Column("b_bound", None, True), Column("c_holds", None, True)),
        *(Column("d", None, False), Column("d_bound", None, True)),
    ]
    assert table.cells == [("0.5", "1", "yes", "x", "3"), ("✗ 1.5", "2", "no", "y", "4")]
    assert same_in_all(made) == [("same", 7, ""), ("same_unit", 2.5, "s")]
    assert same_in_all(made.iloc[:0]) == []
    assert len(same_in_all(frame({f"c{i}": [1, 1] for i in range(500)}))) == 480
    ((long,), _) = rows_table(frame({"word": ["x" * 61, "y"]}), made.iloc[:0]).cells
    assert long == "x" * 60 + "…"
    made["a_holds"] = [None, None]  # can't be judged
    assert [cells[0] for cells in rows_table(made, made.iloc[:0]).cells] == ["0.5", "1.5"]


@pytest.mark.parametrize(
    ("rows", "columns", "about", "shape"),
    [
        (300, 2, "300 rows.", (300, 2)),
        (301, 2, "The first 300 of 301 rows; rows.parquet holds the rest.", (300, 2)),
        (2, 121, "2 rows, 120 of 121 columns; rows.parquet holds the rest.", (2, 120)),
        (300, 121, "The first 166 of 300 rows, 120 of 121 columns; rows", (166, 120)),
        (200, 100, "200 rows.", (200, 100)),
        (3, 0, "3 rows.", (0, 0)),
    ],
)
def test_a_table_is_cut_where_a_page_ends(rows, columns, about, shape):
    cells = {f"c{i}": np.arange(rows) for i in range(columns)} | {"same": [1.0] * rows}
    table = rows_table(frame(cells), frame({}))
    assert table.about.startswith(about)
    assert (len(table.cells), len(table.columns)) == shape
    assert all(len(row) == shape[1] for row in table.cells)


def test_failures_are_counted_by_their_messages():
    """Also where a stranger's rows lack the message; the first five kinds, each by its end."""
    long = "start" + "x" * 3998 + "end"
    messages = [None, "a", long, "a", None, "b", "c", "d", "e"]
    made = frame({"message": messages, "attempts": [3, 1, 3, 2, 4, 3, 3, 3, 3]})
    first, more = failures(made)
    assert [entry[1:] for entry in first] == [(2, 4), (2, 2), (1, 3), (1, 3), (1, 3)]
    assert [entry[0] for entry in first[1:]] == ["a", long[-4000:], "b", "c"]
    assert more == 2
    assert failures(made.iloc[:0]) == ([], 0)
    assert rows_table(made.iloc[:0], made.iloc[:0]) == ("No run has finished.", [], [])


def contents(manifest: dict, failed: int = 0) -> Contents:
    rows = frame({"seed": [0, 1]})
    return Contents("folder", manifest, rows, rows.iloc[:failed], [], [])


def test_facts_of_a_folder():
    environment = {"git_commit": "0123456789abcdef", "git_dirty": True}
    assert contents({}).facts == ["2 rows"]
    assert contents({}, failed=1).facts == ["2 rows", "1 failed runs"]
    changed = contents({"written": "W" * 50, "environment": environment}).facts
    assert changed[1:] == [
        "written " + "W" * 40,
        "commit 0123456789ab with uncommitted changes",
    ]
    for dirty in (False, None, 1):
        clean = contents({"environment": {**environment, "git_dirty": dirty}})
        assert clean.facts[1:] == ["commit 0123456789ab"]
    assert contents({"environment": {"git_commit": "", "git_dirty": True}}).facts == ["2 rows"]


def test_a_summary_has_the_width_of_its_headings():
    rows = [["x", 1, 2, 3], ["y"], "no row", []]
    found = contents({"summary": {"title": "T", "headings": ["a", "b"], "rows": rows}}).summary
    filled = [["x", 1], ["y", ""], ["", ""], ["", ""]]
    assert found == {"title": "T", "headings": ["a", "b"], "rows": filled}
    assert contents({"summary": {"title": "T", "rows": rows}}).summary == {}


def test_packages_stand_below_machine_and_code():
    packages = {f"p{i}": i for i in range(101)}
    found = contents({"environment": {"packages": packages, "python": "3", "cores": 2}})
    assert found.environment == [("python", "3"), ("cores", 2), *list(packages.items())[:100]]
    assert found.manifest["environment"]["packages"] is packages  # what it says stays as it is


def test_figures_fill_a_page_and_the_next_is_left_out(tmp_path, monkeypatch):
    folder = result(tmp_path)
    files = {"a.png": png(), "b.png": png(30, 20), "c.png": png(), "d.png": png()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "figures": sums}))
    monkeypatch.setattr(contents_module, "LARGEST_FIGURES", 2 * len(png()))
    found = Contents.of(folder)
    assert [figure.name for figure in found.figures] == ["a.png", "c.png"]
    sizes = {"b.png": len(png(30, 20)), "d.png": len(png())}
    assert found.left_out == [
        f"{name} has {size} bytes, too many for this page." for name, size in sizes.items()
    ]
    assert sizes["b.png"] <= 2 * len(png())  # it would fit alone


def test_a_caption_is_of_limited_length():
    words = contents({"title": "T"}).caption(Figure("a.png", b"", 1, 1, "x" * 2000))
    assert words == "T, a.png. " + "x" * 990 + "…"
    given = {"title": "T", "configuration": {f"k{i}": i for i in range(13)}}
    drawn = ", ".join(f"k{i} {i}" for i in range(12))
    words = contents(given).caption(Figure("a.png", b"", 1, 1, ""))
    assert words == f"T, a.png. Drawn from 2 rows with {drawn}."


# ---- hostile folders


def test_hostile_text_is_text(tmp_path):
    said = json.loads(json.dumps(SAID).replace("confirmed", "V"))
    said |= {"title": EVIL, "remarks": [EVIL], "printed": EVIL}
    said["claims"] = {"note": EVIL, "claims": [{"claim": EVIL, "verdict": EVIL, "trials": EVIL}]}
    said["summary"] = {"title": EVIL, "headings": [EVIL], "rows": [[EVIL]]}
    folder = result(tmp_path, said=said)
    opened, runs = Folder(tmp_path), [Run({"seed": s, EVIL: s}, "d") for s in range(2)]
    opened.units = {EVIL: EVIL[:-1]}
    for run in runs:
        opened.write(run, {"word": f"{EVIL}{run.spec['seed']}", "same": EVIL}, {})
    opened.fail(Run({"seed": 2}, "d"), EVIL, 3)
    opened.consolidate([*runs, Run({"seed": 2}, "d")], EVIL, {EVIL: EVIL})
    (folder / "one.png").write_bytes(png())  # a later command removes an earlier one's
    figures = {"one.png": hashlib.sha256(png()).hexdigest()}
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= said | {"environment": {EVIL: EVIL, "packages": {EVIL: EVIL}, "git_commit": EVIL}}
    manifest |= {"written": EVIL, "figures": {EVIL: EVIL, f"{EVIL}.png": EVIL, **figures}}
    manifest["sha256"][EVIL] = EVIL
    (folder / "manifest.json").write_text(json.dumps(manifest))
    text = page(Contents.of(folder))
    found = checked(text)
    assert text.count("<script") == 1
    assert "onerror=alert(2)>" in found.words  # as words
    (image,) = found.all("img")
    assert set(image) == {"alt", "width", "height", "src"}
    assert image["alt"].startswith("<script>alert(1)</script>\"'>")
    assert found.words.count("<script>alert(1)</script>") > 20


HOSTILE = [
    None,
    True,
    3,
    -1.5,
    math.nan,
    10**4000,
    "x" * 10**6,
    [],
    [[[[[[1]]]]]],
    [3, None, "x", {"a": [1]}],
    {},
    {"": {"": {"": {"": {}}}}},
    {"claims": 3, "headings": 3, "rows": 3, "packages": 3},
    {"claims": [3, None, {}, []], "headings": ["a"], "rows": [3, None, ["x", "y"], {}]},
    {"a.png": 3, "../one.png": "x", "one.png": None, "": ""},
    {f"k{i}": "v" * 10**4 for i in range(1500)},
    ["r" * 30_000] * 400,
]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda value: repr(value)[:40])
def test_values_of_the_wrong_kind_do_not_break_the_page(tmp_path, value):
    folder = result(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    names = ("title", "study", "command", "configuration", "claims", "remarks", "summary")
    for name in (*names, "printed", "figures", "environment", "written", "runs"):
        text = json.dumps({**manifest, name: value})
        (folder / "manifest.json").write_text(text)
        text = page(Contents.of(folder))
        checked(text)
        assert len(text.encode()) < 5 * 10**6


def test_deep_manifests_are_refused_or_cut(tmp_path, capsys):
    folder = result(tmp_path)
    text = (folder / "manifest.json").read_text().rstrip()[:-1]
    for depth in (50, 900, 10**5):
        nested = "[" * depth + "]" * depth
        (folder / "manifest.json").write_text(f'{text}, "configuration": {{"a": {nested}}}}}')
        code = cli.main(["report", str(folder)])
        said = capsys.readouterr().err
        assert (code, said.count("\n")) in ((0, 0), (2, 1))
        if code == 0:
            checked((folder / "report.html").read_text())


def test_only_figures_that_the_manifest_describes_are_shown(tmp_path):
    folder = result(tmp_path / "out")
    outside = tmp_path / "secret.png"
    outside.write_bytes(png())
    (folder / "link.png").symlink_to(outside)
    (folder / "folder.png").mkdir()
    (folder / "sub").mkdir()
    files = {
        "good.png": png(),
        "other.png": png(4, 4),
        "text.png": b"<script>alert(1)</script>" * 9,
        "fake.png": b"<svg></svg>     " + struct.pack(">II", 3, 2),
        "huge.png": png(1, 1)[:16] + struct.pack(">II", 10**6, 10**6) + png(1, 1)[24:],
        "nothing.png": png(0, 1),
        "short.png": png()[:20],
        "sub/deep.png": png(),
        ".hidden.png": png(),
        "large.png": png() + bytes(4 * 2**20),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    sums["other.png"] = sums["good.png"]
    secret = hashlib.sha256(png()).hexdigest()
    names = ("../secret.png", str(outside), "link.png", "folder.png", "absent.png", "a\x00.png")
    sums |= dict.fromkeys(names, secret)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "figures": sums}))
    contents = Contents.of(folder)
    assert [figure.name for figure in contents.figures] == ["good.png"]
    assert len(contents.left_out) == len(sums) - 1
    found = checked(page(contents))
    assert len(found.all("img")) == 1
    assert "large.png has 4194" in found.words


def test_what_is_no_result_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for place in ("absent", "file", "."):
        assert cli.main(["report", str(tmp_path / place)]) == 2
        assert capsys.readouterr().err.count("\n") == 1
    folder = result(tmp_path / "out")
    (folder / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="it is damaged"):
        Contents.of(folder)
    folder = result(tmp_path / "other")
    assert cli.main(["report", str(folder), "--page", str(tmp_path)]) == 2
    assert "can't be written" in capsys.readouterr().err


# ---- in a browser


def test_tables_sort_and_filter_and_figures_enlarge(tmp_path):
    """By mouse and by keyboard alike: headings and figures are buttons, the filter is a field."""
    folder = result(tmp_path, count=12)
    (folder / "report.html").write_text(page(Contents.of(folder)), encoding="utf-8")
    table = "document.querySelector('.rows table')"
    heads = f"[...{table}.querySelectorAll('thead button')]"
    at = f"{heads}.findIndex(b => b.innerText === 'seed')"
    rows = f"[...{table}.querySelectorAll('tbody tr')].filter(r => !r.hidden)"
    column = f"{rows}.map(r => r.cells[{at}].innerText)"
    sort = f"({heads}[{at}].click(), {column})"
    enlarge = "(document.querySelector('figure button').click(),"
    enlarge += " document.querySelectorAll('.large').length)"
    field = "document.querySelector('.rows input')"
    typed = f"({field}.value = 'w1', {field}.dispatchEvent(new Event('input')), {column})"
    count = "document.querySelector('.rows output').textContent"
    keys = "[...document.querySelectorAll('th button')].every(b => b.tabIndex === 0)"
    address = (folder / "report.html").as_uri()
    asked = [column, sort, sort, typed, count, enlarge, enlarge, keys]
    answers, errors = browser.visit(address, asked, picture=folder / "seen.png")
    assert errors == []
    seeds = [str(seed) for seed in range(12)]
    given, up, down, some, count, large, small, keys = answers
    assert given == up == seeds  # by number: 10 after 9
    assert down == seeds[::-1]
    assert some == ["11", "10", "1"]  # words w1, w10, w11 in the order chosen
    assert count.split() == ["3", "of", "12"]
    assert (large, small, keys) == (1, 0, True)


@pytest.mark.slow
def test_chromium_opens_a_study_of_2000_runs(tmp_path):
    """Real figures; the rows are those of a small study, repeated for 2,000 runs."""
    flags = ["--problem", "gaussian", "--n", "8", "--d", "20", "--k", "2", "--seeds", "2"]
    flags += ["--totals", "0", "1", "--transition-betas", "50", "--jobs", "1"]
    assert cli.main([*flags, "--out", str(tmp_path)]) == 0
    folder = Folder(tmp_path)
    small = [folder.read(run) for run in cli.PROGRAM.configure("theorem23", flags).runs()]
    runs = []
    for seed in range(2000):
        row, arrays = small[seed % len(small)]
        runs.append(Run({"study": "theorem23", "seed": seed}, "d"))
        folder.write(runs[-1], {**row, "seed": seed}, arrays)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    figures = {path: path.read_bytes() for path in tmp_path.glob("theorem23.p*")}
    folder.consolidate(runs, manifest["command"], manifest["configuration"])
    for path, content in figures.items():  # which a later command removes
        path.write_bytes(content)
    said = {name: manifest[name] for name in ("study", "title", "claims", "remarks", "summary")}
    folder.conclude(said, list(figures))
    assert cli.main(["report", str(tmp_path)]) == 0
    assert (tmp_path / "report.html").stat().st_size <= 5 * 10**6
    answers, errors = browser.visit(
        (tmp_path / "report.html").as_uri(),
        [
            "[...document.images].map(i => i.naturalWidth)",
            "document.querySelector('h1').innerText",
            # the page is no wider than the window; wide tables scroll by themselves
            "document.documentElement.scrollWidth <= window.innerWidth",
            "document.querySelector('figcaption').innerText",
        ],
    )
    assert errors == []
    (width,), title, fits, caption = answers
    assert width > 100
    assert title == "Theorem 2.3 and what it rests on"
    assert fits
    assert "initialisation" in caption


@pytest.mark.slow
def test_chromium_runs_nothing_of_a_hostile_folder(tmp_path):
    said = {**SAID, "title": EVIL, "remarks": [EVIL], "printed": EVIL, "summary": None}
    folder = result(tmp_path, said=said)
    assert cli.main(["report", str(folder)]) == 0
    # the console would show what the policy stops
    stopped = tmp_path / "stopped.html"
    text = (tmp_path / "report.html").read_text()
    stopped.write_text(text.replace("<main>", "<main><script>document.title = 1</script>"))
    count = "[document.scripts.length, document.images.length]"
    (clean, errors), (_, more) = browser.visits(
        [((tmp_path / "report.html").as_uri(), [count]), (stopped.as_uri(), [])]
    )
    assert clean == [[1, 1]]
    assert errors == []
    assert any("Content Security Policy" in said for said in more)
