"""Masks: exact counts, deterministic ties, the cost of what is left, files."""

from __future__ import annotations

import math
import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gpu_bench import masks, models
from mirrorflow.checks import InputError
from mirrorflow.pilot import named_factors, reparametrize


@pytest.fixture
def model() -> nn.Module:
    return models.build("resnet20", (3, 8, 8), 10, 0)


def weights_of(*rows: list[float]) -> dict[str, Tensor]:
    return {f"w{i}": torch.tensor(row) for i, row in enumerate(rows)}


def test_sparsities_are_the_papers() -> None:
    assert len(masks.SPARSITIES) == 25
    assert masks.SPARSITIES[0] == pytest.approx(0.2)
    assert masks.SPARSITIES[1] == pytest.approx(0.36)
    assert masks.SPARSITIES[-1] == pytest.approx(1 - 0.8**25)


def test_prunable_is_what_pilot_reparametrizes(model: nn.Module) -> None:
    weights = masks.prunable(model)
    assert set(weights) == {
        "conv1.weight",
        *(f"stages.{s}.{b}.conv{c}.weight" for s in range(3) for b in range(3) for c in (1, 2)),
        *(f"stages.{s}.0.shortcut.0.weight" for s in (1, 2)),
        "fc.weight",
    }
    assert all(weights[name] is p for name, p in model.named_parameters() if name in weights)
    reparametrize(model)
    assert list(weights) == [name for name, _, _ in named_factors(model)]
    with pytest.raises(InputError, match="fold it first"):
        masks.prunable(model)
    with pytest.raises(InputError, match="has none"):
        masks.prunable(nn.Sequential(nn.BatchNorm1d(3), nn.ReLU()))


def test_tied_weights_appear_once() -> None:
    one, two = nn.Linear(3, 3), nn.Linear(3, 3)
    two.weight = one.weight
    assert list(masks.prunable(nn.Sequential(one, two))) == ["0.weight"]


@pytest.mark.parametrize("sparsity", [0.0, *masks.SPARSITIES[::4], 0.5, 0.999999])
def test_counts_are_exact_and_the_smallest_go(model: nn.Module, sparsity: float) -> None:
    weights = masks.prunable(model)
    found = masks.magnitude(weights, sparsity)
    sizes = torch.cat([w.detach().abs().flatten() for w in weights.values()])
    keep = torch.cat([mask.flatten() for mask in found.values()])
    total = sizes.numel()
    assert int((~keep).sum()) == min(math.floor(sparsity * total + 0.5), total - 1)
    assert masks.density(found) == int(keep.sum()) / total
    if sparsity:
        assert sizes[~keep].max() <= sizes[keep].min()
    assert all(found[name].shape == w.shape for name, w in weights.items())
    assert all(mask.dtype == torch.bool for mask in found.values())


def test_masks_are_global_not_by_layer() -> None:
    found = masks.magnitude(weights_of([1.0, -2.0, 3.0], [-10.0, 20.0, 30.0]), 0.5)
    assert found["w0"].tolist() == [False] * 3
    assert found["w1"].tolist() == [True] * 3
    assert masks.layer_densities(found) == {"w0": 0.0, "w1": 1.0}


def test_signs_do_not_count() -> None:
    assert masks.magnitude(weights_of([-3.0, 1.0, -2.0, 0.5]), 0.5)["w0"].tolist() == [
        True,
        False,
        True,
        False,
    ]


def test_many_zeros_and_ties_keep_the_earlier() -> None:
    zeros = weights_of([0.0, 0.0, 5.0], [0.0, -0.0, 0.0, 0.0, 0.0])
    found = masks.magnitude(zeros, 0.5)  # 4 of 8 stay: the 5 and the first three zeros
    assert found["w0"].tolist() == [True, True, True]
    assert found["w1"].tolist() == [True, False, False, False, False]
    ties = masks.magnitude(weights_of([1.0, -1.0, 2.0, 1.0]), 0.5)
    assert ties["w0"].tolist() == [True, False, True, False]


@pytest.mark.parametrize("total", range(1, 12))
def test_halves_are_cut(total: int) -> None:
    """⌊N/2 + ½⌋ of N: rounding to even would cut one less of 1, 5, 9, …"""
    found = masks.magnitude(weights_of([float(i + 1) for i in range(total)]), 0.5)["w0"]
    cut = min((total + 1) // 2, total - 1)
    assert found.tolist() == [False] * cut + [True] * (total - cut)


def test_one_weight_always_stays() -> None:
    assert masks.magnitude(weights_of([1.0, 3.0, 2.0]), 0.99)["w0"].tolist() == [False, True, False]


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, 2.0, -3.0]), min_size=1),
    sparsity=st.floats(0.0, 1.0, exclude_max=True),
    cut=st.integers(0, 8),
)
def test_against_a_stable_sort(values: list[float], sparsity: float, cut: int) -> None:
    weights = {"a": torch.tensor(values[:cut]), "b": torch.tensor(values[cut:])}
    keep = torch.cat(list(masks.magnitude(weights, sparsity).values())).tolist()
    order = sorted(range(len(values)), key=lambda i: -abs(values[i]))  # sorted is stable
    kept = max(1, len(values) - math.floor(sparsity * len(values) + 0.5))
    expected = set(order[:kept])
    assert {i for i, flag in enumerate(keep) if flag} == expected


def test_layout_and_dtype_do_not_matter() -> None:
    w = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    plain = masks.magnitude({"w": w}, 0.7)["w"]  # bfloat16: many ties
    last = masks.magnitude({"w": w.contiguous(memory_format=torch.channels_last)}, 0.7)["w"]
    assert torch.equal(plain, last)
    tiny = torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64)  # equal in float32
    assert masks.magnitude({"w": tiny}, 0.5)["w"].tolist() == [False, True]


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan"), float("inf"), "half", None])
def test_sparsity_outside_its_range(sparsity) -> None:
    with pytest.raises(InputError, match="sparsity must be"):
        masks.magnitude(weights_of([1.0, 2.0]), sparsity)


def test_weights_that_are_no_numbers() -> None:
    with pytest.raises(InputError, match="w1 holds NaN"):
        masks.magnitude(weights_of([1.0], [float("nan"), 1.0]), 0.5)
    with pytest.raises(InputError, match="must not be empty"):
        masks.magnitude({}, 0.5)


def test_apply_cuts_in_place_and_nothing_else(model: nn.Module) -> None:
    weights = masks.prunable(model)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = masks.magnitude(weights, 0.9)
    assert masks.apply(model, found) is model
    for key, value in model.state_dict().items():
        expected = torch.where(found[key], before[key], 0.0) if key in found else before[key]
        assert torch.equal(value, expected), key
    left = sum(int(w.count_nonzero()) for w in weights.values())
    assert left / sum(w.numel() for w in weights.values()) == masks.density(found)
    # cutting again at the same sparsity finds the same weights, zeros and all
    again = masks.magnitude(masks.prunable(model), 0.9)
    assert all(torch.equal(again[key], found[key]) for key in found)


def test_apply_refuses_before_it_changes(model: nn.Module) -> None:
    found = masks.magnitude(masks.prunable(model), 0.9)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    for bad, message in (
        ({**found, "fc.bias": torch.zeros(10, dtype=torch.bool)}, "none called 'fc.bias'"),
        ({**found, "fc.weight": torch.ones(3, dtype=torch.bool)}, "weight's shape"),
        ({**found, "fc.weight": torch.ones(10, 64)}, "boolean"),
        ({}, "must not be empty"),
        (list(found.values()), "must be a dict of a mask for each weight, but it is a list"),
    ):
        with pytest.raises(InputError, match=message):
            masks.apply(model, bad)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_flops_by_hand() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),  # 8×8 → 4×4
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 8, 3, padding=1, groups=2),
        nn.ConvTranspose2d(8, 3, 2, stride=2),  # 4×4 → 8×8, each input pixel once
        nn.Flatten(),
        nn.Linear(192, 5),
    )
    model[3].eval()  # modes differ within the model: each must come back
    statistics = {key: value.clone() for key, value in model[1].state_dict().items()}
    kept = {"0.weight": torch.zeros(4, 3, 3, 3, dtype=torch.bool)}
    kept["0.weight"][0, 0] = True
    found = masks.flops(model, (3, 8, 8), kept)
    assert found["layers"] == {
        "0.weight": {"dense": 16 * 108, "masked": 16 * 9},
        "2.weight": {"dense": 16 * 144, "masked": 16 * 144},
        "3.weight": {"dense": 16 * 96, "masked": 16 * 96},
        "5.weight": {"dense": 960, "masked": 960},
    }
    assert found["dense"] == 1728 + 2304 + 1536 + 960
    assert found["masked"] == 144 + 2304 + 1536 + 960
    assert [module.training for module in model] == [True, True, True, False, True, True]
    assert all(torch.equal(value, statistics[k]) for k, value in model[1].state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_flops_of_resnet20() -> None:
    # 41 M multiply-adds at 32×32: 9·1024·(3·16 + 6·16²) + 9·256·(16·32 + 5·32²)
    # + 9·64·(32·64 + 5·64²), the two 1×1 shortcuts, the classifier
    network = models.build("resnet20", (3, 32, 32), 10, 0)
    total = 9 * (1024 * 1584 + 256 * 5632 + 64 * 22528)
    total += 256 * 16 * 32 + 64 * 32 * 64 + 640
    found = masks.flops(network, (3, 32, 32))
    assert found["dense"] == found["masked"] == total == 40813184


def test_flops_of_a_layer_used_twice() -> None:
    layer = nn.Linear(4, 4)
    assert masks.flops(nn.Sequential(layer, nn.ReLU(), layer), (4,))["dense"] == 32


def test_flops_refuse_a_wrong_shape(model: nn.Module) -> None:
    with pytest.raises(InputError, match="input_shape must fit"):
        masks.flops(model, (2, 8, 8))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_files(model: nn.Module, tmp_path: Path) -> None:
    found = masks.magnitude(masks.prunable(model), 0.8)
    path = tmp_path / "masks.pt"
    masks.save(path, found)
    assert [p.name for p in tmp_path.iterdir()] == ["masks.pt"]
    for loaded in (
        masks.load(path),
        masks.load(path, model),
        torch.load(path, weights_only=True),
    ):
        assert list(loaded) == list(found)
        assert all(torch.equal(loaded[key], found[key]) for key in found)
    with pytest.raises(InputError, match="none called"):
        masks.load(path, nn.Linear(3, 3))
    with pytest.raises(InputError, match="weight's shape"):
        masks.load(path, models.build("resnet20", (1, 8, 8), 10, 0))
    masks.save(path, {key: found[key] for key in list(found)[:-1]})
    with pytest.raises(InputError, match=r"mask for every weight, but fc\.weight"):
        masks.load(path, model)


def test_a_failed_write_keeps_the_old_masks(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "masks.pt"
    masks.save(path, {"w": torch.tensor([True, False])})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"masks\.pt can't be written \(No space left"):
        masks.save(path, {"w": torch.tensor([False, True])})
    assert masks.load(path)["w"].tolist() == [True, False]
    assert [file.name for file in tmp_path.iterdir()] == ["masks.pt"]


class Trap:
    """A pickle that would write a file if it were run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_files_of_strangers(tmp_path: Path) -> None:
    path = tmp_path / "masks.pt"
    with pytest.raises(InputError, match="does not exist"):
        masks.load(path)
    path.write_bytes(b"no masks")
    with pytest.raises(InputError, match="not a readable file of masks"):
        masks.load(path)
    path.write_bytes(pickle.dumps(Trap(tmp_path / "run"), protocol=2))
    with pytest.raises(InputError, match="not a readable file of masks"):
        masks.load(path)
    torch.save({"w": Trap(tmp_path / "run")}, path)
    with pytest.raises(InputError, match="not a readable file of masks"):
        masks.load(path)
    assert not (tmp_path / "run").exists()
    for content, message in (
        ([torch.ones(3, dtype=torch.bool)], "must hold a dict"),
        ({"w": torch.ones(3)}, "must be boolean"),
        ({"w": 3}, "must be boolean"),
        ({"w": torch.ones(1, dtype=torch.bool).expand(10**12)}, "dense tensor"),
        ({"w": torch.zeros(0, dtype=torch.bool)}, "must not be empty"),
        ({}, "must not be empty"),
    ):
        torch.save(content, path)
        with pytest.raises(InputError, match=message):
            masks.load(path)
    with pytest.raises(InputError, match="boolean"):
        masks.save(path, {"w": torch.ones(3)})
