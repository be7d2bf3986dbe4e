"""Masks, checkpoints, tuned settings and images of strangers: equal, or refused; nothing runs."""

from __future__ import annotations

import io
import json
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from PIL import Image
from test_fuzz import damage, fuzzed, refused, silent
from torch import Tensor

from gpu_bench import masks, methods, tuning
from gpu_bench.checkpoints import Checkpoints
from gpu_bench.data import decode
from mirrorflow import InputError
from mirrorflow.runs.untrusted import read_arrays

CANARY: list[str] = []  # whatever is executed sings

# ---- masks


def sing() -> None:
    CANARY.append("the pickle ran")


class Explodes:
    """An object whose pickle runs code when it is read."""

    def __reduce__(self):
        return sing, ()


def saved(content: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


GOOD = {
    "conv.weight": torch.arange(24).view(2, 3, 2, 2) % 3 == 0,
    "fc.weight": torch.ones(4, 5, dtype=torch.bool),
}
bits = torch.tensor([True, False, True, True])
STRANGE: list[Callable[[], Any]] = [
    lambda: {},
    lambda: [bits],
    lambda: bits,
    lambda: {"w": bits.float()},
    lambda: {"w": bits.to(torch.uint8)},
    lambda: {"w": "text\n\x1b[31m"},
    lambda: {"w": None, "v": bits},
    lambda: {"w": {"nested": bits}},
    lambda: {3: bits},
    lambda: {bits.float().view(2, 2): bits},
    lambda: {"a\nb\x1b[2J": torch.ones(1, dtype=torch.bool).expand(10**12)},
    lambda: {"n" * 10_000: torch.zeros(0, dtype=torch.bool)},
    lambda: {"w": torch.zeros([1] * 500 + [0], dtype=torch.bool)},
    lambda: {"w": torch.empty(10**12, dtype=torch.bool, device="meta")},
    lambda: {"w": torch.ones(3, 3).to_sparse().bool()},
    lambda: {"w": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]).bool()},
    lambda: {"w": torch.tensor([2, 3, 255, 0], dtype=torch.uint8).view(torch.bool)},
    lambda: {"w": Explodes()},
    lambda: {"w": bits, "v": np.ones(3, bool)},
    lambda: {"w": torch.quantize_per_tensor(torch.ones(2), 1.0, 0, torch.quint8)},
    lambda: {"w": bits.expand(2, 4)},
    lambda: OrderedDict(w=bits, v=bits[::2], u=bits.view(2, 2).t()),
]


def _strange() -> list[bytes]:
    contents = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's prototypes
        for make in STRANGE:
            contents.append(saved(make()))
    return [*contents, pickle.dumps(Explodes()), pickle.dumps(GOOD, protocol=2)]


def rewritten(content: bytes, changes: dict[str, Callable[[bytes], bytes]], packed: bool) -> bytes:
    """The same archive with members changed and checksums that are right again."""
    stream = io.BytesIO()
    packing = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w", packing) as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name, bytes)(old.read(name)))
    return stream.getvalue()


GOOD_FILE = saved(GOOD)
ENTRIES = [name for name in zipfile.ZipFile(io.BytesIO(GOOD_FILE)).namelist() if "data" in name]


def claiming(entries: int, rows: int) -> Callable[[bytes], bytes]:
    """fc.weight's storage of 20 entries and its shape (4, 5) with other numbers in their place."""
    numbers = b"J" + struct.pack("<i", entries), b"J" + struct.pack("<i", rows)
    return lambda pickled: pickled.replace(b"K\x14", numbers[0]).replace(
        b"K\x04K\x05\x86", numbers[1] + b"K\x05\x86"
    )


numbers = st.sampled_from([-1, 0, 4, 5, 19, 20, 255, 2**16, 2**30, 2**31 - 1])
claims = st.builds(claiming, numbers, numbers)
whole = st.one_of(st.just(GOOD_FILE), damage().map(lambda change: change(GOOD_FILE)))
remade = st.builds(
    rewritten,
    st.just(GOOD_FILE),
    st.dictionaries(st.sampled_from(ENTRIES), st.one_of(damage(), claims), max_size=2),
    st.booleans(),
)
mask_files = st.one_of(
    whole.map(lambda content: ("damaged", content)),
    remade.map(lambda content: ("remade", content)),
    st.deferred(lambda: st.sampled_from(_strange())).map(lambda content: ("strange", content)),
)


@fuzzed(mask_files, quick=120, long=2000)
def test_masks_are_equal_or_refused(case: tuple[str, bytes], folder: Path) -> str:
    """A damaged file gives the masks that were saved; any file dense ones of zeros and ones."""
    kind, content = case
    path = folder / "masks.pt"
    path.write_bytes(content)
    try:
        found = masks.load(path)
    except InputError as error:
        return refused(error)
    finally:
        assert not CANARY
    path.write_bytes(bytes(len(content)))  # what was read is no view of the file
    for mask in found.values():
        assert type(mask) is Tensor
        assert mask.dtype == torch.bool
        assert mask.numel() == mask.untyped_storage().nbytes() <= len(content)
        assert int(mask.view(torch.uint8).max()) <= 1
    if kind == "damaged":
        assert list(found) == list(GOOD)
        assert all(torch.equal(found[name], mask) for name, mask in GOOD.items())
    assert 0.0 <= masks.density(found) <= 1.0
    return "right"


@pytest.mark.parametrize("number", range(len(STRANGE) + 2))
def test_strange_masks_one_by_one(tmp_path, number):
    path = tmp_path / "masks.pt"
    path.write_bytes(_strange()[number])
    with silent():
        if number == len(STRANGE) - 1:  # shared bytes and strides are legal
            found = masks.load(path)
            assert found["v"].tolist() == [True, True]
            assert found["u"].tolist() == [[True, True], [False, True]]
        else:
            with pytest.raises(InputError) as caught:
                masks.load(path)
            refused(caught.value)
    assert not CANARY


def test_the_canary_sings():
    """Read without care, the pickles of these tests do run."""
    pickle.loads(pickle.dumps(Explodes()))
    assert CANARY
    CANARY.clear()


def test_a_flipped_weight_of_a_mask_is_seen(tmp_path):
    """torch does not compare its archive's checksums: the mask was another one."""
    content = bytearray(GOOD_FILE)
    content[content.index(bytes([1] * 20))] = 0
    (tmp_path / "masks.pt").write_bytes(content)
    assert not torch.load(tmp_path / "masks.pt", weights_only=True)["fc.weight"].all()
    with pytest.raises(InputError, match="not a readable file of masks"):
        masks.load(tmp_path / "masks.pt")


def test_a_claim_beyond_the_file_is_no_memory_access(tmp_path):
    """Both the storage and the shape claim gigabytes; its checksums are right."""
    changes = {"archive/data.pkl": claiming(5 * 2**28, 2**28)}
    (tmp_path / "masks.pt").write_bytes(rewritten(GOOD_FILE, changes, False))
    with pytest.raises(InputError, match="not a readable file of masks"):
        masks.load(tmp_path / "masks.pt")


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


@fuzzed(texts, quick=100, long=1500)
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
