"""Image folders: what is listed and refused, how files are decoded, and how batches are shared."""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from make_images import make_images
from PIL import Image
from scipy import stats
from torch import Tensor

from gpu_bench import data
from gpu_bench.data import decode
from mirrorflow.checks import InputError
from mirrorflow.runs.executors import executor, map_unordered

SIZE = 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """10 classes of 20 and 5 images; read only."""
    root = tmp_path_factory.mktemp("images")
    make_images(root)
    return root


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """2 classes of 6 and 3 images, to be spoilt."""
    make_images(tmp_path, classes=2, train=6, val=3)
    return tmp_path


def load(root: Path) -> data.ImageFolders:
    folders = data.load("imagenet", root, image_size=SIZE)
    assert isinstance(folders, data.ImageFolders)
    return folders


def joined(batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def same(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> bool:
    return torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


# Listing


def test_folders_are_listed_in_order(made: Path) -> None:
    folders = load(made)
    assert (folders.classes, folders.shape, len(folders.train)) == (10, (3, SIZE, SIZE), 200)
    assert [label for _, label in folders.test] == sorted(list(range(10)) * 5)
    for part in (folders.train, folders.test):
        assert [path for path, _ in part] == sorted(path for path, _ in part)
        assert all(Path(path).parent.name == f"class{label:02d}" for path, label in part)
    assert {Path(path).suffix for path, _ in folders.train} == {".jpeg", ".png"}


def test_nested_folders_and_other_files(few: Path) -> None:
    before = len(load(few).train)
    inner = few / "train" / "class01" / "more" / "of them"
    inner.mkdir(parents=True)
    Image.new("RGB", (40, 40)).save(inner / "x.JPG", "JPEG")
    (inner / "notes.txt").write_text("not an image")
    assert load(few).train[before:] == ((str(inner / "x.JPG"), 1),)


HIDDEN = (
    ".ipynb_checkpoints",
    "class01/.ipynb_checkpoints",
    "class01/more/.thumbnails/large",
    "__MACOSX",
    "__MACOSX/class00",
    "class00/__MACOSX",
    "class01/@eaDir/x.jpg",
    "$RECYCLE.BIN/S-1-5",
)


@pytest.mark.parametrize("hidden", HIDDEN)
def test_hidden_folders_are_no_classes_and_hold_no_images(few: Path, hidden: str) -> None:
    """In one part or in both: neither counts as a class that only one of them has."""
    before = load(few)
    for part in ("train", "val"):
        place = few / part / hidden
        place.mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(place / "0-checkpoint.png")
        after = load(few)
        assert (after.classes, after.train, after.test) == (2, before.train, before.test)


@pytest.mark.parametrize("name", ["._0.jpg", ".hidden.png", "Thumbs.db", ".DS_Store", "._a.jpeg"])
def test_hidden_files_are_no_images(few: Path, name: str) -> None:
    before = load(few)
    for place in ("train", "train/class00", "train/class01", "val", "val/class01"):
        (few / place / name).write_bytes(b"\0\5\26\7 not a picture")
    assert load(few).train == before.train
    assert load(few).test == before.test
    only = few / "train" / "class02"
    for part in ("train", "val"):
        (few / part / "class02").mkdir()
        (few / part / "class02" / name).write_bytes(b"")
    with pytest.raises(InputError, match=f"{only} must hold images"):
        load(few)


def test_data_below_a_hidden_folder_are_found(few: Path) -> None:
    root = few / ".cache" / "photos"
    make_images(root, classes=2, train=2, val=2)
    assert len(load(root).train) == 4


def test_unfit_folders_are_refused(few: Path) -> None:
    (few / "train" / "empty").mkdir()
    (few / "val" / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty must hold images \(\.jpg, .* but it has none"):
        load(few)
    (few / "val" / "empty").rmdir()
    with pytest.raises(InputError, match=r"same classes .* but 'empty' is in one of them alone"):
        load(few)
    (few / "train" / "empty").rmdir()
    for part in ("train", "val"):
        shutil.rmtree(few / part / "class01")
    with pytest.raises(InputError, match="at least two class folders, but it has 1"):
        load(few)
    shutil.rmtree(few / "val")
    with pytest.raises(InputError, match="has no val/"):
        load(few)


def test_split_holds_out_training_files(made: Path) -> None:
    folders = load(made)
    held = folders.split(0.2)
    assert sorted(held.train + held.test) == sorted(folders.train)
    assert np.bincount([label for _, label in held.test]).tolist() == [4] * 10
    with pytest.raises(InputError, match="fraction must leave images on both sides"):
        folders.split(1e-4)


# Windows


def torchvisions_window(rng: np.random.Generator, width: int, height: int) -> tuple[int, ...]:
    """RandomResizedCrop.get_params, its rejections without end: left, upper, across, down."""
    while True:
        area = width * height * rng.uniform(0.08, 1.0)
        aspect = (3 / 4) * (16 / 9) ** rng.uniform()
        across, down = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if across <= width and down <= height:
            left = rng.integers(0, width - across, endpoint=True)
            return left, rng.integers(0, height - down, endpoint=True), across, down


@pytest.mark.parametrize(("width", "height"), [(500, 375), (200, 300)])
def test_windows_have_torchvisions_law(width: int, height: int) -> None:
    ours, theirs = np.random.default_rng(0), np.random.default_rng(1)
    drawn = np.array([decode.window(ours, width, height) for _ in range(3000)])
    left, upper, right, lower = drawn.T
    assert ((left >= 0) & (upper >= 0) & (right <= width) & (lower <= height)).all()
    across, down = right - left, lower - upper
    known = np.array([torchvisions_window(theirs, width, height) for _ in range(3000)]).T
    for mine, other in (
        (across * down, known[2] * known[3]),
        (across / down, known[2] / known[3]),
        (left, known[0]),
        (upper, known[1]),
    ):
        assert stats.ks_2samp(mine, other).pvalue > 1e-3  # the seeds are fixed


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 10), (193, 0, 206, 10)),  # 10 · 4/3 wide
        ((10, 400), (0, 193, 10, 206)),  # 10 / (3/4) high
        ((1, 1), (0, 0, 1, 1)),
    ],
)
def test_a_window_that_never_fits_is_the_largest_central_one(size, expected) -> None:
    found = {decode.window(np.random.default_rng(seed), *size) for seed in range(20)}
    assert expected in found
    if size != (1, 1):  # 8 % of so long an image are out of every range
        assert found == {expected}


# Decoding


def triangle(pixels: np.ndarray, start: float, stop: float, size: int) -> np.ndarray:
    """Resample rows start…stop of (H, …) into `size`: a triangle filter, by its definition."""
    scale = (stop - start) / size
    reach = max(scale, 1.0)
    centres = start + (np.arange(size) + 0.5) * scale
    places = np.arange(len(pixels)) + 0.5
    weights = np.clip(1 - np.abs(places - centres[:, None]) / reach, 0, None)
    return np.tensordot(weights / weights.sum(1, keepdims=True), pixels, 1)


@pytest.mark.parametrize("shape", [(90, 70), (30, 61), (20, 24)])
@pytest.mark.parametrize("augment", [False, True])
def test_pixels_are_the_window_under_a_triangle_filter(shape, augment: bool, tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    path = str(tmp_path / "noise.png")
    Image.fromarray(pixels).save(path)
    flips = 0
    for seed in range(20 if augment else 1):
        stream = np.random.default_rng(seed) if augment else None
        square = decode.read(path, SIZE, stream)
        assert (square.shape, square.dtype) == ((SIZE, SIZE, 3), np.uint8)
        if augment:
            again = np.random.default_rng(seed)
            left, upper, right, lower = decode.window(again, shape[1], shape[0])
            if again.random() < 0.5:
                square, flips = square[:, ::-1], flips + 1
        else:
            left, upper, right, lower = central(*shape[::-1])
        rows = triangle(pixels.astype(float), upper, lower, SIZE)
        expected = triangle(rows.swapaxes(0, 1), left, right, SIZE).swapaxes(0, 1)
        # Pillow rounds to a level after each direction
        assert np.abs(square - expected).max() < 1.01
    assert not augment or 4 <= flips <= 16


def central(width: int, height: int) -> tuple[float, ...]:
    """Where torchvision's Resize(37) and CenterCrop(32) come from; 37 = round(8 · 32/7)."""
    long = 37 * max(width, height) // min(width, height)
    resized = (37, long) if width <= height else (long, 37)
    start = [round((n - 32) / 2) for n in resized]
    scale = (width / resized[0], height / resized[1])
    return tuple((s + end) * k for end in (0, 32) for s, k in zip(start, scale, strict=True))


def places(width: int, height: int) -> Image.Image:
    """Red grows from left to right, green from top to bottom: a pixel tells where it is from."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    pixels = np.stack([255 * x / width, 255 * y / height, 0 * x], 2)
    return Image.fromarray(pixels.round().astype(np.uint8))


@pytest.mark.parametrize("size", [(1000, 613), (437, 901), (70, 64)])
@pytest.mark.parametrize("augment", [False, True])
def test_jpegs_decoded_at_a_fraction_keep_their_place(size, augment: bool, tmp_path) -> None:
    path = str(tmp_path / "places.jpg")
    places(*size).save(path, quality=98)
    for seed in range(15 if augment else 1):
        stream = np.random.default_rng(seed) if augment else None
        box = decode.window(np.random.default_rng(seed), *size)
        left, upper, right, lower = box if augment else decode.centre(SIZE, *size)
        square = decode.read(path, SIZE, stream).astype(float)
        red, green = square[..., 0].mean(0), square[..., 1].mean(1)
        red = red if red[0] < red[-1] else red[::-1]
        steps = (np.arange(SIZE) + 0.5) / SIZE
        assert np.abs(red - 255 * (left + steps * (right - left)) / size[0]).max() < 2
        assert np.abs(green - 255 * (upper + steps * (lower - upper)) / size[1]).max() < 2


def test_jpegs_are_decoded_no_larger_and_no_smaller_than_needed(monkeypatch, tmp_path) -> None:
    seen = []
    resize = Image.Image.resize

    def spy(image, size, resample, box):
        seen.append((image.size, box))
        return resize(image, size, resample, box)

    monkeypatch.setattr(Image.Image, "resize", spy)
    path = str(tmp_path / "places.jpg")
    for long in (256, 295, 296, 600, 1184, 4000):
        places(long, 320).save(path)
        for stream in (None, np.random.default_rng(long)):
            decode.read(path, SIZE, stream)
    for (_, height), (left, upper, right, lower) in seen:
        short = min(right - left, lower - upper)
        assert short >= SIZE  # no pixel is made up
        assert short < 2 * SIZE or height == 320 / 8  # half as large would not do
    assert {height for (_, height), _ in seen} == {160, 80, 40}


def test_kinds_of_files(tmp_path: Path) -> None:
    image = places(64, 64)
    expected = None
    for mode, name in (
        ("RGB", "a.png"),
        ("RGB", "a.jpg"),
        ("CMYK", "b.jpg"),
        ("RGBA", "b.png"),
        ("RGB", "c.bmp"),
        ("RGB", "c.webp"),
        ("RGB", "png.jpg"),
    ):
        kind = "PNG" if name == "png.jpg" else None
        image.convert(mode).save(tmp_path / name, kind, quality=98)
        square = decode.read(str(tmp_path / name), SIZE, None).astype(int)
        expected = square if expected is None else expected
        assert np.abs(square - expected).max() < 8, name
    first = decode.read(str(tmp_path / "a.png"), SIZE, None).astype(int)
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: to be turned by 90°, which is not done
    image.save(tmp_path / "turned.jpg", exif=turned, quality=98)
    image.save(tmp_path / "several.png", save_all=True, append_images=[image.rotate(180)])
    image.save(tmp_path / "several.webp", save_all=True, append_images=[image.rotate(180)])
    image.save(tmp_path / "several.tif", save_all=True, append_images=[image.rotate(180)])
    for name in ("turned.jpg", "several.png", "several.webp", "several.tif"):
        square = decode.read(str(tmp_path / name), SIZE, None).astype(int)
        assert np.abs(square - first).max() < 12, name
    few = image.quantize(256)
    few.save(tmp_path / "opaque.png")
    few.save(tmp_path / "clear.png", transparency=bytes(range(256)))  # alpha is ignored
    squares = [decode.read(str(tmp_path / f"{n}.png"), SIZE, None) for n in ("opaque", "clear")]
    assert np.array_equal(*squares)
    assert np.abs(squares[0].astype(int) - first).mean() < 12
    image.convert("L").save(tmp_path / "d.jpg")
    grey = decode.read(str(tmp_path / "d.jpg"), SIZE, None)
    assert (grey == grey[..., :1]).all()
    assert np.ptp(grey) > 50


def ramp(width: int = 256) -> np.ndarray:
    """From black at the left to white at the right, (64, width) floats in [0, 1]."""
    return np.tile(np.linspace(0.0, 1.0, width), (64, 1))


def grey(kind: str, folder: Path) -> Path:
    """The ramp as a file of one kind of grey levels."""
    name, _, suffix = kind.rpartition(".")
    path, levels = folder / kind, (ramp() * 65535).round().astype(np.uint16)
    if kind in ("16.png", "16.tif", "16.pgm"):
        Image.fromarray(levels).save(path)
    elif kind == "16 big.tif":
        Image.fromarray(levels.astype(">u2")).save(path)
    elif kind == "16 white first.tif":
        Image.fromarray(65535 - levels).save(path, tiffinfo={262: 0})
    elif kind == "12.tif":
        path.write_bytes(tiff((ramp() * 4095).round().astype(int), 12))
    elif kind == "12.pgm":
        head = b"P5 256 64 4095\n"
        path.write_bytes(head + (ramp() * 4095).round().astype(">u2").tobytes())
    elif suffix == "ppm":
        colours = np.repeat(levels.astype(">u2")[..., None], 3, 2)
        path.write_bytes(b"P6 256 64 65535\n" + colours.tobytes())
    else:
        image = Image.fromarray((ramp() * 255).round().astype(np.uint8))
        image.convert({"8": "L", "8 alpha": "LA"}[name]).save(path)
    return path


def tiff(levels: np.ndarray, bits: int, kind: int = 1) -> bytes:
    """One strip of grey levels of any number of bits, packed; black is 0; kind 2 is signed."""
    height, width = levels.shape
    flat = (levels[..., None] >> np.arange(bits)[::-1]) & 1
    strip = np.packbits(flat.reshape(height, -1), axis=1).tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 8 + 2 + 12 * 10 + 4}
    tags |= {277: 1, 278: height, 279: len(strip), 339: kind}
    entries = b"".join(struct.pack("<HHII", key, 4, 1, tags[key]) for key in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + strip


GREYS = ("8.png", "8 alpha.png", "16.png", "16.tif", "16.pgm", "16 big.tif", "16 white first.tif")
GREYS += ("12.tif", "12.pgm", "colours.ppm")


@pytest.mark.parametrize("kind", GREYS)
@pytest.mark.parametrize("augment", [False, True])
def test_grey_levels_of_any_depth_are_one_ramp(kind: str, augment: bool, tmp_path: Path) -> None:
    """As from 8 bits, to a level: each depth rounds, then the filter does."""
    stream = np.random.default_rng(5) if augment else None
    expected = decode.read(str(grey("8.png", tmp_path)), SIZE, stream).astype(int)
    stream = np.random.default_rng(5) if augment else None
    found = decode.read(str(grey(kind, tmp_path)), SIZE, stream).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert np.ptp(expected[0, :, 0]) > 30
    assert (found == found[..., :1]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int32])
def test_grey_levels_without_a_known_white_are_refused(dtype: type, tmp_path: Path) -> None:
    path = tmp_path / "ramp.tif"
    if dtype is np.int16:
        path.write_bytes(tiff((ramp() * 32767).astype(dtype).byteswap(), 16, kind=2))
    else:
        Image.fromarray((ramp() * 30000).astype(dtype)).save(path)
    with pytest.raises(decode.Unreadable, match=r"ramp\.tif is not a readable .* no known white"):
        decode.read(str(path), SIZE, None)


def test_black_and_white_has_no_grey_between(tmp_path: Path) -> None:
    Image.fromarray(np.tile(np.arange(64) > 31, (64, 1))).save(tmp_path / "1.png")
    square = decode.read(str(tmp_path / "1.png"), 16, None)
    assert set(np.unique(square[:, [0, -1]])) == {0, 255}
    assert square[0, 0].tolist() == [0, 0, 0]


# Batches


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_ranks_change_nothing(made: Path, workers: int) -> None:
    folders = load(made)
    alone = data.FolderBatches(folders, 20, seed=0, workers=0)
    shards = [
        data.FolderBatches(folders, 20, seed=0, workers=workers, rank=r, ranks=2) for r in (0, 1)
    ]
    state = torch.get_rng_state()
    for k in (1, 2):  # persistent workers: the second epoch too
        assert len(alone) == 10
        together = zip(*(shard.epoch(k) for shard in shards), strict=True)
        parts = [part for step in together for part in step]
        assert {len(labels) for _, labels in parts} == {10}
        assert same(joined(parts), joined(alone.epoch(k)))
    assert torch.equal(state, torch.get_rng_state())
    tested = [part for shard in shards for part in shard.evaluation()]
    assert [len(labels) for _, labels in tested] == [10, 10, 5] * 2
    assert same(joined(tested), joined(alone.evaluation()))


def test_workers_start_in_a_worker_process(made: Path) -> None:
    batches = data.FolderBatches(load(made), 100, seed=0, workers=0)
    with executor(2) as workers:
        ((_, (found,)),) = map_unordered(in_a_job, [[made]], workers)
    assert same(found, joined(batches.epoch(0)))


def in_a_job(roots: Sequence[Path]) -> list[tuple[Tensor, Tensor]]:
    return [
        joined(data.FolderBatches(load(root), 100, seed=0, workers=1).epoch(0)) for root in roots
    ]


def test_epochs_are_keyed_by_seed_and_number(made: Path) -> None:
    folders = load(made)
    batches = data.FolderBatches(folders, 30, seed=0, workers=0)
    first, labels = joined(batches.epoch(1))
    assert first.shape == (180, 3, SIZE, SIZE)
    list(batches.evaluation())
    assert same(joined(batches.epoch(1)), (first, labels))
    assert not torch.equal(joined(batches.epoch(2))[0], first)
    others = [data.FolderBatches(folders, 200, seed, workers=0) for seed in range(3)]
    keyed = [joined(other.epoch(k)) for other in others for k in range(3)]
    assert len({images.numpy().tobytes() for images, _ in keyed}) == 9  # none is another's
    assert len({labels.numpy().tobytes() for _, labels in keyed}) == 9  # nor its order


def test_windows_and_flips_are_drawn_anew_for_every_image_and_epoch(tmp_path: Path) -> None:
    for part, label in ((part, label) for part in ("train", "val") for label in range(2)):
        folder = tmp_path / part / f"class{label}"
        folder.mkdir(parents=True)
        for i in range(100):
            image = np.array(places(48, 48))
            image[..., 2] = 100 * label + i  # which of the images it is
            Image.fromarray(image).save(folder / f"{i:02d}.png")
    mean, std = (torch.tensor(m).view(3, 1, 1) for m in (data.folders.MEAN, data.folders.STD))
    seen = []
    for seed, k in ((0, 0), (0, 1), (1, 0)):
        images, labels = joined(data.FolderBatches(load(tmp_path), 200, seed, workers=0).epoch(k))
        pixels = ((images * std + mean) * 255).round().int()
        number = pixels[:, 2, 0, 0]
        assert torch.equal(number // 100, labels.int())
        assert sorted(number.tolist()) == list(range(200))
        assert (number.diff() != 1).any()  # shuffled
        flipped = (pixels[:, 0, 16, 0] > pixels[:, 0, 16, -1]).sum()
        assert 65 < flipped < 135  # 5 σ of 200 coins
        assert (pixels[:, 1, 0, 16] < pixels[:, 1, -1, 16]).all()  # never upside down
        seen.append(pixels[number.argsort(), :2])
    # a few large windows of so small images coincide
    assert len({image.numpy().tobytes() for epoch in seen for image in epoch}) > 580


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_may_be_left_but_not_gone_back_to(made: Path, workers: int) -> None:
    folders = load(made)
    batches = data.FolderBatches(folders, 20, seed=0, workers=workers)
    left = batches.epoch(1)
    next(left)
    expected = joined(data.FolderBatches(folders, 20, seed=0, workers=0).epoch(2))
    assert same(joined(batches.epoch(2)), expected)
    with pytest.raises(RuntimeError, match="can't be continued after another one has begun"):
        next(left)


def test_layout_and_dtype(made: Path) -> None:
    batches = data.FolderBatches(
        load(made), 8, 0, dtype=torch.bfloat16, channels_last=True, workers=0
    )
    images, labels = next(iter(batches.epoch(0)))
    assert (images.dtype, labels.dtype) == (torch.bfloat16, torch.int64)
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_batches_of_folders_refuse_bad_input(made: Path) -> None:
    folders = load(made)
    for options, message in (
        ({"batch_size": 201}, r"batch_size must be at most .*200"),
        ({"batch_size": 9, "ranks": 2}, "divisible by the number of ranks"),
        ({"batch_size": 8, "rank": 2, "ranks": 2}, "rank must be"),
        ({"batch_size": 8, "workers": -1}, "workers must be at least 0"),
        ({"batch_size": 8, "dtype": torch.int32}, "dtype must be a floating"),
    ):
        with pytest.raises(InputError, match=message):
            data.FolderBatches(folders, seed=0, **options)
    with pytest.raises(InputError, match="k must be at least 0"):
        data.FolderBatches(folders, 8, seed=0).epoch(-1)


# Broken files


def png(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that claims any size."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0")),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def spoil(path: Path, kind: str) -> None:
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[: len(content) // 2],
            "header": content[:100],
            "empty": b"",
            "text": b"<html>404</html>",
            "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "bomb": png(30_000, 30_000),
            "small bomb": png(10_000, 9_500),  # Pillow itself only warns
        }[kind]
    )


def a_jpeg(root: Path) -> Path:
    return sorted((root / "train" / "class00").glob("*.jpeg"))[2]  # neither end


@pytest.mark.parametrize(
    ("kind", "workers"),
    [
        ("cut", 0),
        ("header", 0),
        ("empty", 0),
        ("text", 0),
        ("postscript", 0),
        ("bomb", 0),
        ("small bomb", 0),
        ("cut", 2),  # what a worker finds comes through
    ],
)
def test_a_broken_file_is_refused_by_name(few: Path, kind: str, workers: int) -> None:
    spoil(a_jpeg(few), kind)
    batches = data.FolderBatches(load(few), 12, seed=0, workers=workers)
    sentence = ""
    try:  # pytest.raises would keep the workers in a cycle, which ends them seconds later
        list(batches.epoch(0))
    except InputError as error:
        sentence = str(error)
    assert sentence.startswith(f"{a_jpeg(few)} is not a readable image (")
    assert sentence.endswith(").")
    assert "\n" not in sentence
    assert ("decompression bomb" in sentence) == ("bomb" in kind)
    # Pillow would hand it to another program
    assert kind != "postscript" or "cannot identify" in sentence


def test_a_folder_of_ones_own_has_its_name(made: Path) -> None:
    """`folder:NAME` below the root is what `imagenet` is at it."""
    own, plain = data.load(f"folder:{made.name}", made.parent, image_size=SIZE), load(made)
    assert own.name == f"folder:{made.name}"
    assert (own.train, own.test, own.classes) == (plain.train, plain.test, plain.classes)
    for name in ("folder:", "folders:x"):
        with pytest.raises(InputError, match="or folder:NAME"):
            data.load(name, made.parent)
    with pytest.raises(InputError, match=r"has no train/"):
        data.load("folder:absent", made.parent)
    with pytest.raises(InputError, match="can't be fetched"):
        data.load("folder:absent", made.parent, download=True)
