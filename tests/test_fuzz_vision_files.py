"""Masks, checkpoints, tuned settings and images of strangers: equal, or refused."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from PIL import Image
from test_fuzz import damage, fuzzed, refused

from gpu_bench import masks, methods, tuning
from gpu_bench.checkpoints import Checkpoints
from gpu_bench.data import decode
from mirrorflow import InputError
from mirrorflow.runs.untrusted import read_arrays

# ---- masks

GOOD = {
    "conv.weight": torch.arange(24).view(2, 3, 2, 2) % 3 == 0,
    "fc.weight": torch.ones(4, 5, dtype=torch.bool),
}


@fuzzed(damage(), quick=120, long=1500)
def test_masks_are_equal_or_refused(change: Callable[[bytes], bytes], folder: Path) -> str:
    """A damaged file gives the masks that were saved, or none."""
    path = folder / "masks.npz"
    masks.save(path, GOOD)
    path.write_bytes(change(path.read_bytes()))
    try:
        found = masks.load(path)
    except InputError as error:
        return refused(error)
    assert found.keys() == GOOD.keys()
    assert all(torch.equal(found[name], mask) for name, mask in GOOD.items())
    return "right"


# ---- checkpoints

STATE = {
    "epoch": np.array(7),
    "weights": np.linspace(-1.0, 1.0, 700).astype(np.float32),
    "mask": np.arange(700) % 3 == 0,
    "records": np.array([[0.5, np.nan], [np.inf, -0.0]]),
    "none": np.zeros((0, 2)),
}


def checkpoint() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, run=np.frombuffer(b"key", np.uint8), **STATE)
    return stream.getvalue()


@fuzzed(damage(), quick=100, long=1500)
def test_checkpoints_are_equal_or_passed_over(
    change: Callable[[bytes], bytes], folder: Path
) -> str:
    """A damaged one holds what was saved, bit for bit, or the one before it is taken."""
    whole = checkpoint()
    (folder / "key").mkdir(exist_ok=True)
    (folder / "key" / "000001.npz").write_bytes(whole)
    (folder / "key" / "000002.npz").write_bytes(change(whole))
    (_, newest), (_, before) = Checkpoints(folder, "key").read()
    for found in (newest, before):
        if isinstance(found, InputError):
            continue
        assert found.keys() == STATE.keys()
        for name, array in STATE.items():
            assert found[name].dtype == array.dtype
            assert found[name].shape == array.shape
            assert found[name].tobytes() == array.tobytes()
    assert not isinstance(before, InputError)
    return refused(newest) if isinstance(newest, InputError) else "right"


def test_no_flipped_bit_of_the_directory_hides_an_array(tmp_path):
    """Neither its size nor the names and lengths in it are covered by a checksum."""
    whole, path = checkpoint(), tmp_path / "a.npz"
    for at in range(whole.index(b"PK\x01\x02"), len(whole)):
        for value in {whole[at] ^ 1 << bit for bit in range(8)} | {0, 1, 255}:
            damaged = bytearray(whole)
            damaged[at] = value
            path.write_bytes(damaged)
            try:
                found = read_arrays(path, ("run",), every=True)
            except InputError:
                continue
            assert found.keys() == {"run", *STATE}


# ---- tuned settings

SETTINGS = {name: dict(methods.METHODS[name].grid[0]) for name in ("dense", "spred", "pilot")}
TUNED = {
    "dataset": "digits",
    "model": "resnet20",
    "methods": {name: {"setting": setting} for name, setting in SETTINGS.items()},
}
values = st.one_of(
    st.sampled_from([0.0, -1.0, 1e400, -(10**400), None, [], [["lr", 1.0]], {}, {"lr": []}]),
    st.floats(0.0, 10.0),
)


def _placed(tree: Any, places: list[int], value: Any) -> Any:
    """The tree with one of its values replaced, the one that the numbers lead to."""
    if not isinstance(tree, dict) or not tree or not places:
        return value
    name = list(tree)[places[0] % len(tree)]
    return {**tree, name: _placed(tree[name], places[1:], value)}


texts = st.one_of(
    st.just(json.dumps(TUNED).encode()),
    damage().map(lambda change: change(json.dumps(TUNED).encode())),
    st.builds(
        _placed, st.just(TUNED), st.lists(st.integers(0, 5), min_size=2, max_size=4), values
    ).map(lambda tree: json.dumps(tree).encode()),
    st.sampled_from([b"[" * 100_000, b"NaN", b"\xff\xfe{}", b'{"methods": {}}']),
)


@fuzzed(texts, quick=100, long=700)
def test_tuned_settings_are_numbers_or_refused(content: bytes, folder: Path) -> str:
    path = folder / "tuned.json"
    path.write_bytes(content)
    try:
        found = tuning.read(path, "digits", "resnet20")
    except InputError as error:
        return refused(error)
    for setting in found.values():
        for value in setting.values():
            assert isinstance(value, float | int)
            assert 0.0 <= value < float("inf")
    if content == json.dumps(TUNED).encode():
        assert found == SETTINGS
    return "right"


# ---- images


def pictures() -> list[bytes]:
    pixels = np.add.outer(np.arange(24), 3 * np.arange(20)).astype(np.uint8)
    contents = []
    for form in ("PNG", "JPEG", "WEBP", "BMP", "PPM", "TIFF", "GIF"):
        stream = io.BytesIO()
        Image.fromarray(pixels).convert("P" if form == "GIF" else "RGB").save(stream, form)
        contents.append(stream.getvalue())
    return contents


images = st.tuples(
    st.deferred(lambda: st.sampled_from(pictures())),
    st.one_of(st.none(), damage()),
    st.booleans(),
)


@fuzzed(images, quick=60, long=600)
def test_images_are_squares_or_unreadable(
    case: tuple[bytes, Callable[[bytes], bytes] | None, bool], folder: Path
) -> str:
    """Whatever is in the file: pixels of the size asked for, or a sentence that names it."""
    content, change, random = case
    path = folder / "image.png"
    path.write_bytes(content if change is None else change(content))
    stream = np.random.default_rng(0) if random else None
    try:
        square = decode.read(str(path), 8, stream)
    except decode.Unreadable as error:
        return refused(f"{error}.")
    assert square.shape == (8, 8, 3)
    assert square.dtype == np.uint8
    return "right"
