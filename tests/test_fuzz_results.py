"""Result folders of strangers: shards, rows, manifest, paths and the page that is made of them."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from test_fuzz import damage, fuzzed, refused

from mirrorflow import InputError
from mirrorflow.results import Folder, Run, load, load_paths
from mirrorflow.runs.report import Contents, page
from mirrorflow.runs.report.page import SCRIPT

EVIL = "<evil on=1>\"'><script>&lt;\x00\x1b[31m\u202e\ud800"
RUNS = [Run({"study": "test", "seed": seed, "rate": 0.5, "none": None}, "d") for seed in range(3)]
ROW = {"status": "ok", "gap": math.nan, "bound": math.inf, "small": 5e-324, "word": EVIL}
ARRAYS = {"x": np.linspace(-1.0, 1.0, 60).reshape(3, 20), "t": np.array([0.0, np.inf])}
RUN = RUNS[0]


def png() -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(8))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@cache
def finished() -> dict[str, bytes]:
    """The files of a result folder, by their names in it."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        folder = Folder(path)
        folder.units = {"gap": "units of x"}
        for run in RUNS[:2]:
            folder.write(run, {**ROW, "wall_seconds": 0.25 * run.spec["seed"]}, ARRAYS)
        folder.fail(RUNS[2], f"Traceback {EVIL}", 3)
        folder.consolidate(RUNS, f"python -m study {EVIL}", {"seeds": 3, "rates": [0.5, 1.0]})
        (path / "one.png").write_bytes(png())
        claim = {"claim": "Zx → y", "trials": 3, "value": 1e-9, "bound": 1e-6, "verdict": "yes"}
        said = {
            "title": "A study",
            "claims": {"note": "Worst.", "claims": [{**claim, "expected": True}]},
            "remarks": ["One."],
            "summary": {"title": "Means", "headings": ["a", "b"], "rows": [["x", "0.5"]]},
        }
        folder.conclude(said, [path / "one.png"])
        files = (file for file in path.rglob("*") if file.is_file())
        return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def laid_out(folder: Path, **changed: bytes) -> Path:
    """The finished folder, with some of its files changed."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    for name, content in {**finished(), **changed}.items():
        if not name.startswith("."):
            path = folder / "out" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder / "out"


# ---- shards

SHARD = f"shards/{RUN.key}.run"


@fuzzed(damage(), quick=150, long=2000)
def test_a_damaged_shard_is_not_finished_or_the_run(
    change: Callable[[bytes], bytes], folder: Path
) -> str:
    """Every value of row and arrays is the one that was written, to the bit."""
    opened = Folder(folder)
    (folder / SHARD).write_bytes(change(finished()[SHARD]))
    found = opened.read(RUN)
    if found is None:
        return "refused"
    row, arrays = found
    expected = {**RUN.spec, **ROW, "wall_seconds": 0.0}
    assert repr(row) == repr(expected)
    assert arrays.keys() == ARRAYS.keys()
    assert all(arrays[name].tobytes() == array.tobytes() for name, array in ARRAYS.items())
    return "right"


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.sampled_from([0, 1, -1, 2**63, 10**400, 1e308, "", EVIL, "<f8", "../up.png", "x" * 5000]),
    st.text(max_size=5),
)
names = st.sampled_from(
    ["claims", "one.png", "key", "status", "attempts", "message", "folder", EVIL]
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(names, st.text(max_size=3)), inner, max_size=3),
    ),
    max_leaves=8,
)
described = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["x", "../x", "a\x00/b", EVIL, 3]),
            st.sampled_from(["<f8", "|O", ">i2", "<f99", "|b1", "<f16", 8]),
            st.one_of(
                st.lists(st.sampled_from([0, 1, 2, 10**12, -1, True, "1"]), max_size=3), leaves
            ),
        ),
        trees,
    ),
    max_size=2,
)


@st.composite
def forged(draw: Any) -> bytes:
    """A shard with a right digest: a row, arrays and bytes that a stranger made up."""
    row = draw(st.one_of(st.dictionaries(st.one_of(names, st.text(max_size=3)), trees), trees))
    if isinstance(row, dict) and draw(st.integers(0, 3)):
        row = {**row, **RUN.spec}
    usual = [["x", "<f8", [2]]]
    head = {"row": row, "arrays": draw(st.one_of(st.just(usual), described, trees))}
    body = json.dumps(head).encode() + b"\n" + draw(st.one_of(st.just(bytes(16)), st.binary()))
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


@fuzzed(forged(), quick=60, long=1000)
def test_forged_shards_are_consolidated_or_left_out(content: bytes, folder: Path) -> str:
    """Whatever a row holds becomes numbers and text that can be loaded again."""
    opened = Folder(folder)
    (folder / SHARD).write_bytes(content)
    found = opened.read(RUN)
    if found is None:
        return "refused"
    assert all(array.dtype.kind in "fiub" for array in found[1].values())
    with mock.patch("mirrorflow.runs.store.folder.environment", dict):
        frame = opened.consolidate([RUN], "command", {})
    assert len(frame) == 1
    pd.testing.assert_frame_equal(load(folder), frame)
    return "right"


# ---- rows, manifest, paths


def entries(value: Any) -> Any:
    """The frame's entries as they are, NaN too."""
    return repr(value.to_dict()), value.dtypes.to_dict(), value.attrs


files = st.sampled_from(["rows.parquet", "manifest.json"])


@fuzzed(st.tuples(files, damage()), quick=100, long=1500)
def test_damaged_rows_are_refused_or_the_rows(
    case: tuple[str, Callable[[bytes], bytes]], folder: Path
) -> str:
    """The manifest's digest is of the rows: nothing else passes as them."""
    name, change = case
    out = laid_out(folder, **{name: change(finished()[name])})
    try:
        found = load(out)
    except InputError as error:
        return refused(error)
    assert entries(found) == entries(load(laid_out(folder)))
    return "right"


@fuzzed(damage(), quick=60, long=1000)
def test_forged_rows_are_refused_or_a_table(change: Callable[[bytes], bytes], folder: Path) -> str:
    """Rows of a stranger whose manifest has their digest: a table of numbers and text at most."""
    rows = change(finished()["rows.parquet"])
    manifest = json.loads(finished()["manifest.json"])
    manifest["sha256"]["rows.parquet"] = hashlib.sha256(rows).hexdigest()
    changed = {"rows.parquet": rows, "manifest.json": json.dumps(manifest).encode()}
    try:
        found = load(laid_out(folder, **changed))
    except InputError as error:
        return refused(error)
    assert set(found.dtypes.map(str)) <= {"int64", "Int64", "bool", "boolean", "float64", "str"} | {
        "object"
    }
    assert len(found) < 100
    return "right"


@fuzzed(damage(), quick=60, long=800)
def test_damaged_paths_are_refused_or_the_paths(
    change: Callable[[bytes], bytes], folder: Path
) -> str:
    path = folder / "paths.npz"
    path.write_bytes(change(finished()["paths.npz"]))
    try:
        found = load_paths(path)
    except InputError as error:
        return refused(error)
    expected = {f"{run.key}/{name}": a for run in RUNS[:2] for name, a in ARRAYS.items()}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], array) for name, array in expected.items())
    return "right"


# ---- the page

TAGS = "html head meta link title style body header main nav section h1 h2 h3 p ul li a b span"
TAGS += " article table thead tbody tr th td div details summary figure figcaption img pre code"
TAGS += " small wbr"
ATTRIBUTES = "lang charset name content http-equiv rel href id class scope tabindex role"
ATTRIBUTES += " aria-label alt width height src"


class Elements(HTMLParser):
    """Refuses every element and attribute that this toolkit does not write itself."""

    scripts = 0  # one is ours, without attributes

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        assert tag in [*TAGS.split(), "script"], tag
        for name, value in attrs:
            assert name in ATTRIBUTES.split(), (tag, name)
            if name in ("href", "src"):
                assert (value or "").startswith(("#", "data:")), value


@st.composite
def manifests(draw: Any) -> bytes:
    """A manifest with some of its entries made up, and the right digest of its rows."""
    manifest = json.loads(finished()["manifest.json"])
    for name in draw(st.lists(st.sampled_from(sorted(manifest)), min_size=1, max_size=4)):
        if name != "sha256":
            value = draw(trees)
            inner = manifest[name]
            if isinstance(inner, dict) and inner and draw(st.booleans()):
                value = {**inner, draw(st.sampled_from(sorted(inner))): value}
            manifest[name] = value
    return json.dumps(manifest).encode()


@fuzzed(
    st.one_of(
        manifests(), manifests(), damage().map(lambda change: change(finished()["manifest.json"]))
    ),
    quick=40,
    long=500,
)
def test_pages_hold_no_element_of_a_stranger(content: bytes, folder: Path) -> str:
    """A page with our elements alone, or a refusal."""
    out = laid_out(folder, **{"manifest.json": content})
    try:
        text = page(Contents.of(out))
    except InputError as error:
        return refused(error)
    text.encode()
    elements = Elements()
    elements.feed(text)
    assert (
        elements.scripts == text.count("<script") == text.count(f"<script>{SCRIPT}</script>") == 1
    )
    assert "<evil" not in text
    assert "\x1b" not in text
    return "right"
