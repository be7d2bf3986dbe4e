"""Residual networks: their size, shapes, and an initialisation that is seeded and Kaiming's."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from gpu_bench import models
from gpu_bench.masks import prunable
from mirrorflow.checks import InputError


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_sizes_are_the_published_ones() -> None:
    # He et al. 2016, Table 6: 0.27 M. Worked out: 3×3 and 1×1 convolutions, 2 numbers per
    # channel of batch norm, the classifier.
    convolutions = 9 * (3 * 16 + 6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)
    convolutions += 16 * 32 + 32 * 64
    norms = 2 * (7 * 16 + 7 * 32 + 7 * 64)
    assert count(models.build("resnet20", (3, 32, 32), 10, 0)) == convolutions + norms + 650
    assert convolutions + norms + 650 == 272474
    assert count(models.build("resnet18", (3, 32, 32), 100, 0)) == 11220132


@pytest.mark.parametrize("name", ["resnet20", "resnet18"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_every_data_set_fits(name: str, shape: tuple[int, int, int]) -> None:
    model = models.build(name, shape, 7, 0)
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    logits = model(images)
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


def test_channels_last_computes_the_same() -> None:
    model = models.build("resnet20", (3, 32, 32), 10, 0).eval()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model(images)
        model.to(memory_format=torch.channels_last)
        other = model(images.contiguous(memory_format=torch.channels_last))
    assert torch.allclose(plain, other, rtol=1e-4, atol=1e-4)


def test_papers_threshold_is_a_known_part_of_the_initial_norm() -> None:
    norms = []
    for seed in range(3):
        weights = prunable(models.build("resnet20", (3, 32, 32), 10, seed))
        norms.append(sum(float(w.detach().abs().sum()) for w in weights.values()))
    # Σ √(2/π) √(2/fan_out) over all weights is 14 863; the spread over seeds is about 20
    assert norms == pytest.approx([14863.0] * 3, rel=0.01)


def test_block_is_the_papers() -> None:
    # With zero convolutions a block is relu(shortcut), whatever it has learned elsewhere.
    block = models.BasicBlock(3, 3, 1)
    nn.init.zeros_(block.conv2.weight)
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize("name", ["resnet20", "resnet18"])
def test_weights_are_kaiming_normal_by_fan_out(name: str) -> None:
    model = models.build(name, (3, 32, 32), 100, 0)
    for key, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach().double()
            fan_out = weight.shape[0] * weight[0, 0].numel()
            z = weight.flatten() * (fan_out / 2) ** 0.5
            # 5 σ of the mean and of the variance of n standard normals; the seed is fixed
            assert abs(z.mean()) < 5 / z.numel() ** 0.5, key
            assert abs(z.square().mean() - 1) < 5 * (2 / z.numel()) ** 0.5, key
            # a normal, not a uniform: kurtosis 3 against 1.8 (√(96/n) is the 2 σ of kurtosis)
            assert abs(z.pow(4).mean() - 3) < 5 * (96 / z.numel()) ** 0.5, key
            assert module.bias is None or not module.bias.any()
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert not module.bias.any()


def test_seed_decides_and_global_state_does_not() -> None:
    torch.manual_seed(1)
    one = models.build("resnet20", (3, 32, 32), 10, 0).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    two = models.build("resnet20", (3, 32, 32), 10, 0).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[key], two[key]) for key in one)
    other = models.build("resnet20", (3, 32, 32), 10, 1).state_dict()
    assert all(not torch.equal(one[key], other[key]) for key in one if "conv" in key)


def test_layers_have_streams_of_their_own() -> None:
    one = models.build("resnet20", (3, 32, 32), 10, 0).state_dict()
    other = models.build("resnet20", (1, 8, 8), 5, 0).state_dict()
    changed = {key for key in one if one[key].shape != other[key].shape}
    assert changed == {"conv1.weight", "fc.weight", "fc.bias"}
    assert all(torch.equal(one[key], other[key]) for key in one.keys() - changed)
    twins = [v for k, v in one.items() if k.startswith("stages.0") and "conv" in k]
    assert all(not torch.equal(twins[0], twin) for twin in twins[1:])


def test_bad_input() -> None:
    with pytest.raises(InputError, match="resnet20, resnet18, resnet50, but it is 'vgg'"):
        models.build("vgg", (3, 32, 32), 10, 0)
    with pytest.raises(InputError, match=r"must be \(C, H, W\)"):
        models.build("resnet20", (32, 32), 10, 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="dataset_shape's H must be at least 1"):
        models.build("resnet20", (3, 0, 32), 10, 0)
    with pytest.raises(InputError, match="classes must be at least 2"):
        models.build("resnet20", (3, 32, 32), 1, 0)
    with pytest.raises(InputError, match="seed"):
        models.build("resnet20", (3, 32, 32), 10, -1)


def test_resnet50_without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(InputError, match=r"resnet50 needs torchvision.*pip install torchvision"):
        models.build("resnet50", (3, 224, 224), 1000, 0)


def test_resnet50() -> None:
    pytest.importorskip("torchvision", reason="resnet50 is torchvision's")
    assert count(models.build("resnet50", (3, 224, 224), 1000, 0)) == 25557032
    small = models.build("resnet50", (1, 32, 32), 10, 0)
    assert small.eval()(torch.zeros(1, 1, 32, 32)).shape == (1, 10)
