"""Images for the benchmark: what is loaded, what is refused, and how batches are made of it."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from gpu_bench import data, run
from gpu_bench.data import sources
from gpu_bench.data.dataset import channel_moments, stratified
from mirrorflow.checks import InputError

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="module")
def digits() -> data.Dataset:
    loaded = data.load("digits")
    assert isinstance(loaded, data.Dataset)
    return loaded


def random_set(n: int = 40, shape: tuple[int, int, int] = (3, 6, 5), augment: bool = True):
    """Random images, each of its own class number as far as that goes; test images apart."""
    g = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (n + 10, *shape), dtype=torch.uint8, generator=g)
    labels = torch.arange(n + 10) % n
    return data.Dataset.of("random", (images[:n], labels[:n]), (images[n:], labels[n:]), n, augment)


def raw(batches: data.Batches, images: Tensor) -> Tensor:
    """Undo the normalisation: back to 0 … 255."""
    mean = torch.tensor(batches.dataset.mean).view(-1, 1, 1)
    std = torch.tensor(batches.dataset.std).view(-1, 1, 1)
    values = (images * std + mean) * 255.0
    assert (values - values.round()).abs().max() < 1e-3  # float32: 255 · 2⁻²⁴ · a few
    return values.round().to(torch.uint8)


# Loading


def test_digits_are_scikit_learns(digits: data.Dataset) -> None:
    assert (digits.name, digits.classes, digits.shape, digits.augment) == (
        "digits",
        10,
        (1, 8, 8),
        False,
    )
    assert digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.test_images.shape == (360, 1, 8, 8)
    pixels, target = load_digits(return_X_y=True)
    official = sorted((*row.astype(int), label) for row, label in zip(pixels, target, strict=True))
    images = torch.cat([digits.train_images, digits.test_images]).flatten(1).double()
    labels = torch.cat([digits.train_labels, digits.test_labels])
    # 255/16 ≈ 15.9 per level: rounding to uint8 can be undone, so nothing was lost or mixed
    levels = (images * 16 / 255).round().long()
    found = sorted(
        (*row, label) for row, label in zip(levels.tolist(), labels.tolist(), strict=True)
    )
    assert found == official


def test_digits_split_is_fixed_and_in_proportion(digits: data.Dataset) -> None:
    again = data.load("digits")
    assert torch.equal(digits.train_images, again.train_images)
    assert torch.equal(digits.test_labels, again.test_labels)
    share = torch.bincount(digits.test_labels) / torch.bincount(
        torch.cat([digits.train_labels, digits.test_labels])
    )
    assert (share - 360 / 1797).abs().max() < 1 / 170  # within one image of each class


def test_moments_are_those_of_the_training_images(digits: data.Dataset) -> None:
    scaled = digits.train_images.double() / 255
    assert digits.mean[0] == pytest.approx(scaled.mean().item(), rel=1e-12)
    assert digits.std[0] == pytest.approx(scaled.std(unbiased=False).item(), rel=1e-12)


def test_moments_by_channel_and_across_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_bench.data.dataset.CHUNK", 7)
    images = random_set().train_images
    scaled = images.double() / 255
    mean, std = channel_moments(images)
    assert mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert std == pytest.approx(scaled.std((0, 2, 3), unbiased=False).tolist(), rel=1e-12)


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(InputError, match="digits, fashion-mnist, cifar10, cifar100, imagenet"):
        data.load("mnist")


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100"])
def test_missing_data_says_what_and_which_flag(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{name}.*--data-root.*--download"):
        data.load(name)
    with pytest.raises(InputError, match=rf"neither {name}\.npz nor .*--data-root.*--download"):
        data.load(name, tmp_path)


def test_missing_imagenet(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--data-root"):
        data.load("imagenet")
    with pytest.raises(InputError, match="has no train/"):
        data.load("imagenet", tmp_path)
    with pytest.raises(InputError, match="can't be fetched"):
        data.load("imagenet", tmp_path, download=True)


def test_options_of_image_folders_belong_to_imagenet() -> None:
    with pytest.raises(InputError, match="image_size must be left out for digits"):
        data.load("digits", image_size=32)


@pytest.fixture
def small_official(monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Make "cifar10" mean a set of 30 images with the digests of what is returned."""
    import hashlib

    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8),
        "train_labels": rng.integers(0, 10, 20, dtype=np.uint8),
        "test_images": rng.integers(0, 256, (10, 6, 5, 3), dtype=np.uint8),
        "test_labels": rng.integers(0, 10, 10, dtype=np.uint8),
    }
    digests = tuple(hashlib.sha256(a.tobytes()).hexdigest() for a in arrays.values())
    known = sources.OFFICIAL["cifar10"]
    small = dataclasses.replace(known, counts=(20, 10), shape=(6, 5, 3), digests=digests)
    monkeypatch.setitem(sources.OFFICIAL, "cifar10", small)
    return arrays


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("labels", [np.uint8, np.int64])
def test_cache_is_read(small_official, save, labels, tmp_path: Path) -> None:
    arrays = {k: v.astype(labels) if "labels" in k else v for k, v in small_official.items()}
    save(tmp_path / "cifar10.npz", **arrays)
    loaded = data.load("cifar10", tmp_path)
    assert loaded.augment
    for part in ("train", "test"):
        images = getattr(loaded, f"{part}_images")
        assert images.shape[1:] == (3, 6, 5)
        expected = small_official[f"{part}_images"].transpose(0, 3, 1, 2)
        assert np.array_equal(images.numpy(), expected)
        assert getattr(loaded, f"{part}_labels").tolist() == arrays[f"{part}_labels"].tolist()


def change(arrays: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    arrays = {k: v.copy() for k, v in arrays.items()}
    if kind == "pixel":
        arrays["test_images"][3, 2, 1, 0] ^= 1
    elif kind == "label":
        arrays["train_labels"][4] = (arrays["train_labels"][4] + 1) % 10
    elif kind == "swapped":
        arrays["train_labels"] = arrays["train_labels"][::-1]
    elif kind == "range":
        arrays["train_labels"][0] = 10
    elif kind == "negative":
        arrays["train_labels"] = arrays["train_labels"].astype(np.int64)
        arrays["train_labels"][0] -= 256  # uint8 would wrap back to the published label
    elif kind == "shape":
        arrays["train_images"] = arrays["train_images"][:-1]
    elif kind == "missing":
        del arrays["test_labels"]
    return arrays


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("pixel", "test_images in .* are not the published ones.*SHA-256.*--download"),
        ("label", "train_labels in .* are not the published ones"),
        ("swapped", "train_labels in .* are not the published ones"),
        ("range", "train_labels in .* are not the published ones"),
        ("negative", "train_labels in .* are not the published ones"),
        ("shape", r"not the published ones: shape \(20, 6, 5, 3\)"),
        ("missing", "test_labels is missing"),
    ],
)
def test_changed_cache_is_refused(small_official, kind, message, tmp_path: Path) -> None:
    np.savez(tmp_path / "cifar10.npz", **change(small_official, kind))
    with pytest.raises(InputError, match=message):
        data.load("cifar10", tmp_path)


def test_a_command_with_a_changed_cache_ends_with_2(small_official, tmp_path, capsys) -> None:
    np.savez(tmp_path / "cifar10.npz", **change(small_official, "pixel"))
    flags = ["--dataset", "cifar10", "--data-root", str(tmp_path), "--methods", "dense"]
    flags += ["--precision", "float32", "--layout", "contiguous", "--batch-size", "4"]
    assert run.main([*flags, "--jobs", "1", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: test_images in ")
    assert error.count("\n") == 1


def test_cut_or_pickled_cache_is_refused(small_official, tmp_path: Path) -> None:
    cache = tmp_path / "cifar10.npz"
    np.savez(cache, **small_official)
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable NPZ file"):
        data.load("cifar10", tmp_path)
    objects = np.array([{"a": 1}], dtype=object)
    np.savez(cache, **{**small_official, "train_labels": objects}, allow_pickle=True)
    with zipfile.ZipFile(cache) as archive:  # it does hold a pickle
        assert b"|O" in archive.read("train_labels.npy")
    with pytest.raises(InputError, match="dtype"):
        data.load("cifar10", tmp_path)


class FakeTorchvision:
    """Stands for torchvision.datasets: official files without a download of 170 MB."""

    def __init__(self, arrays: dict[str, np.ndarray], error: Exception | None = None) -> None:
        self.datasets, self.arrays, self.error = self, arrays, error
        self.calls: list[tuple[str, bool, bool]] = []

    def CIFAR10(self, root: str, train: bool, download: bool):
        self.calls.append((root, train, download))
        if self.error is not None:
            raise self.error
        part = "train" if train else "test"
        images, labels = self.arrays[f"{part}_images"], self.arrays[f"{part}_labels"]
        return type("Part", (), {"data": images, "targets": labels.tolist()})()


def test_official_files_by_torchvision(small_official, monkeypatch, tmp_path: Path) -> None:
    fake = FakeTorchvision(small_official)
    monkeypatch.setattr(sources, "need_torchvision", lambda purpose: fake)
    by_download = data.load("cifar10", tmp_path, download=True)
    assert fake.calls == [(str(tmp_path), True, True), (str(tmp_path), False, True)]
    (tmp_path / "cifar-10-batches-py").mkdir()
    from_disk = data.load("cifar10", tmp_path)
    assert fake.calls[2:] == [(str(tmp_path), True, False), (str(tmp_path), False, False)]
    np.savez(tmp_path / "cifar10.npz", **small_official)
    from_cache = data.load("cifar10", tmp_path)
    for loaded in (from_disk, from_cache):
        assert torch.equal(loaded.train_images, by_download.train_images)
        assert torch.equal(loaded.test_labels, by_download.test_labels)
        assert loaded.mean == by_download.mean


def test_changed_official_files_are_refused(small_official, monkeypatch, tmp_path: Path) -> None:
    fake = FakeTorchvision(change(small_official, "pixel"))
    monkeypatch.setattr(sources, "need_torchvision", lambda purpose: fake)
    with pytest.raises(InputError, match="not the published ones"):
        data.load("cifar10", tmp_path, download=True)


def test_failed_download_is_a_sentence(small_official, monkeypatch, tmp_path: Path) -> None:
    fake = FakeTorchvision(small_official, OSError("no route to host"))
    monkeypatch.setattr(sources, "need_torchvision", lambda purpose: fake)
    with pytest.raises(InputError, match=r"could not be fetched.*no route to host"):
        data.load("cifar10", tmp_path, download=True)


def test_without_torchvision_the_message_names_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InputError, match="pip install torchvision"):
        data.load("cifar10", tmp_path, download=True)


@pytest.mark.slow  # unpacks 200 MB of real images: up to 27 s each
@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100"])
def test_real_images_have_the_published_digests(name: str, tmp_path: Path) -> None:
    if not (SHARED / "decode.py").exists():
        pytest.skip(f"the packed real images are not there ({SHARED})")
    subprocess.run(
        [sys.executable, SHARED / "decode.py", name, tmp_path / f"{name}.npz"], check=True
    )
    loaded = data.load(name, tmp_path)
    assert isinstance(loaded, data.Dataset)
    assert len(loaded.train_labels) == (60000 if name == "fashion-mnist" else 50000)
    assert (torch.bincount(loaded.test_labels) == 10000 // loaded.classes).all()
    if name == "cifar10":  # the constants in everybody's code
        assert loaded.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-4)
        assert loaded.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-4)


# Splitting


def test_split_takes_from_the_training_images_alone(digits: data.Dataset) -> None:
    held = digits.split(0.1, seed=3)
    assert (len(held.train_labels), len(held.test_labels)) == (1293, 144)
    parts = torch.cat([held.train_images, held.test_images]).flatten(1)
    pairs = torch.cat([parts, torch.cat([held.train_labels, held.test_labels])[:, None]], 1)
    whole = torch.cat([digits.train_images.flatten(1), digits.train_labels[:, None]], 1)
    assert sorted(pairs.tolist()) == sorted(whole.tolist())
    assert held.mean == channel_moments(held.train_images)[0] != digits.mean
    count = torch.bincount(digits.train_labels)
    assert (torch.bincount(held.test_labels) - 0.1 * count).abs().max() < 1


def test_split_depends_on_its_seed_alone(digits: data.Dataset) -> None:
    torch.manual_seed(5)
    one = digits.split(0.2, seed=0)
    torch.manual_seed(6)
    assert torch.equal(one.test_images, digits.split(0.2, seed=0).test_images)
    assert not torch.equal(one.test_images, digits.split(0.2, seed=1).test_images)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.0, 1.5, float("nan"), 1e-6, "much"])
def test_split_refuses_empty_parts(digits: data.Dataset, fraction) -> None:
    with pytest.raises(InputError, match="fraction"):
        digits.split(fraction)


@pytest.mark.parametrize("size", [1, 7, 50, 99])
def test_stratified_is_exact_and_in_proportion(size: int) -> None:
    labels = np.repeat([0, 2, 3], [61, 30, 9])
    marked = stratified(labels, size, ("test", 0))
    assert marked.sum() == size
    for label, count in ((0, 61), (2, 30), (3, 9)):
        assert abs(marked[labels == label].sum() - size * count / 100) < 1


# Batches


def test_batches_without_augmentation(digits: data.Dataset) -> None:
    batches = data.Batches(digits, 100, seed=0)
    seen = list(batches.epoch(0))
    assert len(seen) == len(batches) == 14  # 37 of 1437 are dropped
    images = raw(batches, torch.cat([images for images, _ in seen])).flatten(1)
    labels = torch.cat([labels for _, labels in seen])
    assert all(len(part) == 100 for _, part in seen)
    assert labels.dtype == torch.int64
    found = torch.cat([images, labels[:, None]], 1).tolist()
    given = torch.cat([digits.train_images.flatten(1), digits.train_labels[:, None]], 1).tolist()
    assert len({tuple(row) for row in found}) == 1400  # no image twice
    assert {tuple(row) for row in found} <= {tuple(row) for row in given}
    assert labels.tolist() != digits.train_labels[:1400].tolist()  # shuffled


def test_epochs_are_keyed_by_seed_and_number() -> None:
    dataset = random_set()
    batches = data.Batches(dataset, 10, seed=0)

    def content(batches: data.Batches, k: int) -> Tensor:
        return torch.cat([images for images, _ in batches.epoch(k)])

    torch.manual_seed(0)
    first = content(batches, 1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    list(batches.epoch(0))
    assert torch.equal(content(batches, 1), first)
    assert torch.equal(before, torch.get_rng_state())
    every = [content(data.Batches(dataset, 10, seed), k) for seed in range(4) for k in range(4)]
    assert len({images.numpy().tobytes() for images in every}) == 16  # none is another's


def windows_of(image: Tensor) -> dict[tuple[int, int, bool], bytes]:
    """All 9·9·2 crops and flips of one (C, H, W) image, by the definition."""
    _, height, width = image.shape
    padded = torch.zeros(image.shape[0], height + 8, width + 8, dtype=torch.uint8)
    padded[:, 4:-4, 4:-4] = image
    found = {}
    for dy in range(9):
        for dx in range(9):
            window = padded[:, dy : dy + height, dx : dx + width]
            found[dy, dx, False] = window.numpy().tobytes()
            found[dy, dx, True] = window.flip(2).numpy().tobytes()
    return found


@pytest.mark.parametrize("shape", [(3, 6, 5), (1, 7, 7)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_crops_and_flips_are_all_windows_equally_often(shape, channels_last: bool) -> None:
    dataset = random_set(shape=shape)
    batches = data.Batches(dataset, 20, seed=0, channels_last=channels_last)
    known = [
        {window: key for key, window in windows_of(image).items()} for image in dataset.train_images
    ]
    drawn = []
    for k in range(100):
        for images, labels in batches.epoch(k):
            for image, label in zip(raw(batches, images), labels.tolist(), strict=True):
                # label i belongs to image i alone: the window must be one of that image
                drawn.append(known[label][image.numpy().tobytes()])
    counts = np.zeros((9, 9, 2), dtype=int)
    for dy, dx, flip in drawn:
        counts[dy, dx, int(flip)] += 1
    assert counts.sum() == 4000
    expected = 4000 / 162
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert chi2 < 161 + 5 * np.sqrt(2 * 161)  # 5 σ; the seed is fixed
    assert abs(counts[..., 1].sum() - 2000) < 5 * np.sqrt(1000)


def test_groups_change_nothing() -> None:
    dataset = random_set()
    one, many = data.Batches(dataset, 7, seed=0), data.Batches(dataset, 7, seed=0)
    many._group = 3  # 5 batches: a full group and a smaller one
    for a, b in zip(one.epoch(4), many.epoch(4), strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("group", [1, 3])
@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_together_see_what_one_process_sees(ranks: int, group: int, augment: bool) -> None:
    dataset = random_set(augment=augment)
    alone = data.Batches(dataset, 6, seed=0)
    shards = [data.Batches(dataset, 6, seed=0, rank=r, ranks=ranks) for r in range(ranks)]
    for shard in shards:
        shard._group = group
        assert len(shard) == len(alone) == 6
    together = zip(*(shard.epoch(4) for shard in shards), strict=True)
    for (images, labels), parts in zip(alone.epoch(4), together, strict=True):
        assert all(len(part) == 6 // ranks for _, part in parts)
        assert torch.equal(torch.cat([part for part, _ in parts]), images)
        assert torch.equal(torch.cat([part for _, part in parts]), labels)


@pytest.mark.parametrize("ranks", [2, 3, 11])
def test_ranks_share_the_test_images(ranks: int) -> None:
    dataset = random_set()  # 10 of them
    size = 2 * ranks
    shards = [data.Batches(dataset, size, seed=0, rank=r, ranks=ranks) for r in range(ranks)]
    parts = [list(shard.evaluation()) for shard in shards]
    sizes = [sum(len(labels) for _, labels in part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert all(0 < len(labels) <= 2 for part in parts for _, labels in part)
    shown = torch.cat([raw(shards[0], images) for part in parts for images, _ in part])
    assert torch.equal(shown, dataset.test_images)
    given = [labels for part in parts for _, labels in part]
    assert torch.equal(torch.cat(given), dataset.test_labels)


def test_shards_refuse_bad_input() -> None:
    dataset = random_set()
    with pytest.raises(InputError, match=r"divisible by the number of ranks \(3\), but it is 7"):
        data.Batches(dataset, 7, seed=0, ranks=3)
    with pytest.raises(InputError, match="rank must be at least 0 and at most 1, but it is 2"):
        data.Batches(dataset, 8, seed=0, rank=2, ranks=2)
    with pytest.raises(InputError, match="ranks must be at least 1"):
        data.Batches(dataset, 8, seed=0, ranks=0)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_layout_and_dtype(dtype: torch.dtype, augment: bool) -> None:
    dataset = random_set(augment=augment)
    plain, last = (
        data.Batches(dataset, 8, seed=0, dtype=dtype, channels_last=flag) for flag in (False, True)
    )
    for loop in (lambda b: b.epoch(0), lambda b: b.evaluation()):
        (a, _), (b, _) = next(iter(loop(plain))), next(iter(loop(last)))
        assert a.dtype == b.dtype == dtype
        assert a.is_contiguous()
        assert b.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(a, b)


def test_batches_own_their_memory() -> None:
    # Training in place on a batch must not reach the data.
    dataset = random_set(augment=False)
    batches = data.Batches(dataset, 10, seed=0)
    before = dataset.test_images.clone()
    for images, _ in batches.evaluation():
        images.zero_()
    assert torch.equal(dataset.test_images, before)
    assert next(iter(batches.evaluation()))[0].any()


def test_evaluation_sees_every_image_once_in_order(digits: data.Dataset) -> None:
    batches = data.Batches(digits, 100, seed=0)
    parts = list(batches.evaluation())
    assert [len(labels) for _, labels in parts] == [100, 100, 100, 60]
    images = torch.cat([images for images, _ in parts])
    expected = (digits.test_images.float() / 255 - digits.mean[0]) / digits.std[0]
    assert (images - expected).abs().max() < 1e-5
    assert torch.equal(torch.cat([labels for _, labels in parts]), digits.test_labels)


def test_evaluation_of_augmented_data_is_not_augmented() -> None:
    dataset = random_set()
    batches = data.Batches(dataset, 8, seed=0)
    shown = torch.cat([images for images, _ in batches.evaluation()])
    assert torch.equal(raw(batches, shown), dataset.test_images)


def test_batches_refuse_bad_input(digits: data.Dataset) -> None:
    with pytest.raises(InputError, match=r"batch_size must be at most .*1437.* but it is 1438"):
        data.Batches(digits, 1438, seed=0)
    assert len(data.Batches(digits, 1437, seed=0)) == 1
    with pytest.raises(InputError, match="batch_size"):
        data.Batches(digits, 0, seed=0)
    with pytest.raises(InputError, match="dtype must be a floating"):
        data.Batches(digits, 10, seed=0, dtype=torch.uint8)
    with pytest.raises(InputError, match="device must be one that torch knows"):
        data.Batches(digits, 10, seed=0, device="gpu")
    batches = data.Batches(digits, 10, seed=0)
    with pytest.raises(InputError, match="k must be at least 0"):
        batches.epoch(-1)  # at the call, before anything is drawn


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda(digits: data.Dataset) -> None:
    with pytest.raises(InputError, match="no CUDA device"):
        data.Batches(digits, 10, seed=0, device="cuda")


def test_dataset_refuses_bad_parts(digits: data.Dataset) -> None:
    images, labels = digits.test_images, digits.test_labels

    def build(images: Tensor, labels: Tensor, classes: int = 10) -> data.Dataset:
        train = (digits.train_images, digits.train_labels)
        return data.Dataset.of("x", train, (images, labels), classes, False)

    for bad, message in (
        ((images.float(), labels), "test_images must be a non-empty"),
        ((images[:0], labels[:0]), "test_images must be a non-empty"),
        ((images, labels[:-1]), "test_labels must be an int64 tensor of 360"),
        ((images, labels.int()), "test_labels must be an int64"),
        ((images[..., :7], labels), "test_images must be of the training images' shape"),
        ((images, labels, 9), r"must lie in \[0, 9\)"),
    ):
        with pytest.raises(InputError, match=message):
            build(*bad)
    flat = torch.zeros_like(digits.train_images)
    with pytest.raises(InputError, match="channel 0 is constant"):
        data.Dataset.of("x", (flat, digits.train_labels), (images, labels), 10, False)
