"""Residual networks: their size, shapes, and an initialisation that is seeded and Kaiming's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_bench import models
from gpu_bench.masks import flops, prunable
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
    model = models.build("resnet20", (3, 32, 32), 10, 0).eval().double()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        plain = model(images)
        model.to(memory_format=torch.channels_last)
        other = model(images.contiguous(memory_format=torch.channels_last))
    # twenty layers of sums of up to 576 terms in another order: 1e-16 each
    assert torch.allclose(plain, other, rtol=1e-11, atol=1e-11)


def test_papers_threshold_is_a_known_part_of_the_initial_norm() -> None:
    norms = []
    for seed in range(3):
        weights = prunable(models.build("resnet20", (3, 32, 32), 10, seed))
        norms.append(sum(float(w.detach().abs().sum()) for w in weights.values()))
    # Σ √(2/π) √(2/fan_out) over all weights is 14 863; the spread over seeds is about 20
    assert norms == pytest.approx([14863.0] * 3, rel=0.01)


@pytest.mark.parametrize(
    ("block", "last"),
    [(models.BasicBlock(8, 8, 1), "conv2"), (models.Bottleneck(8, 2, 1), "conv3")],
)
def test_block_is_the_papers(block: nn.Module, last: str) -> None:
    # With a zero last convolution a block is relu(shortcut), whatever it has learned elsewhere.
    nn.init.zeros_(block.get_submodule(last).weight)
    x = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize("name", models.NAMES)
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


def test_the_classifier_is_scaled_by_fan_in_where_asked() -> None:
    """The same draws, √(fan_out/fan_in) times as large; nothing else changes."""
    one, two = (models.build("resnet8", (3, 32, 32), 10, 0, fan) for fan in ("fan-out", "fan-in"))
    for (key, ours), theirs in zip(one.named_parameters(), two.parameters(), strict=True):
        factor = (10 / 64) ** 0.5 if key == "fc.weight" else 1.0
        torch.testing.assert_close(theirs, factor * ours)


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
    named = f"one of {', '.join(models.NAMES)}, .* or MODULE:FUNCTION, but it is 'vgg'"
    with pytest.raises(InputError, match=named):
        models.build("vgg", (3, 32, 32), 10, 0)
    with pytest.raises(InputError, match=r"must be \(C, H, W\)"):
        models.build("resnet20", (32, 32), 10, 0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="dataset_shape's H must be at least 1"):
        models.build("resnet20", (3, 0, 32), 10, 0)
    with pytest.raises(InputError, match="classes must be at least 2"):
        models.build("resnet20", (3, 32, 32), 1, 0)
    with pytest.raises(InputError, match="seed"):
        models.build("resnet20", (3, 32, 32), 10, -1)


# ResNet-50: interchangeable with torchvision's, which isn't at hand everywhere


STAGES = {1: (64, 3), 2: (128, 4), 3: (256, 6), 4: (512, 3)}  # width and blocks


def torchvisions_state(classes: int) -> list[tuple[str, tuple[int, ...]]]:
    """Return names and shapes of torchvision's state_dict, in its order."""

    def convolution(prefix: str, norm: str, *shape: int) -> list[tuple[str, tuple[int, ...]]]:
        parts = ("weight", "bias", "running_mean", "running_var")
        norms = [(f"{norm}.{part}", shape[:1]) for part in parts]
        return [(f"{prefix}.weight", shape), *norms, (f"{norm}.num_batches_tracked", ())]

    state, c_in = convolution("conv1", "bn1", 64, 3, 7, 7), 64
    for stage, (width, blocks) in STAGES.items():
        for i in range(blocks):
            at = f"layer{stage}.{i}"
            state += convolution(f"{at}.conv1", f"{at}.bn1", width, c_in, 1, 1)
            state += convolution(f"{at}.conv2", f"{at}.bn2", width, width, 3, 3)
            state += convolution(f"{at}.conv3", f"{at}.bn3", 4 * width, width, 1, 1)
            if i == 0:
                down = f"{at}.downsample"
                state += convolution(f"{down}.0", f"{down}.1", 4 * width, c_in, 1, 1)
            c_in = 4 * width
    return [*state, ("fc.weight", (classes, 2048)), ("fc.bias", (classes,))]


def used(model: nn.Module) -> nn.Module:
    """Give every entry of the state a value that a mistake in its place would show."""
    generator = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        if value.ndim == 1:
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif value.ndim == 0:
            value.fill_(len(name))
    return model.eval()


def forward_by_hand(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """ResNet-50 v1.5 in evaluation mode: the stride of a stage is in its first 3×3."""

    def convolution(x: Tensor, conv: str, norm: str, stride: int = 1, padding: int = 0) -> Tensor:
        y = F.conv2d(x, state[f"{conv}.weight"], None, stride, padding)
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(y, *(state[f"{norm}.{part}"] for part in parts))

    x = F.max_pool2d(convolution(x, "conv1", "bn1", 2, 3).relu(), 3, 2, 1)
    for stage, (_, blocks) in STAGES.items():
        for i in range(blocks):
            at, stride = f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1
            y = convolution(x, f"{at}.conv1", f"{at}.bn1").relu()
            y = convolution(y, f"{at}.conv2", f"{at}.bn2", stride, 1).relu()
            y = convolution(y, f"{at}.conv3", f"{at}.bn3")
            if i == 0:
                x = convolution(x, f"{at}.downsample.0", f"{at}.downsample.1", stride)
            x = (x + y).relu()
    return F.linear(x.flatten(2).mean(2), state["fc.weight"], state["fc.bias"])


def test_resnet50_has_torchvisions_state() -> None:
    model = models.build("resnet50", (3, 224, 224), 1000, 0)
    assert count(model) == 25557032  # torchvision's documentation, as the next number
    assert [(k, tuple(v.shape)) for k, v in model.state_dict().items()] == torchvisions_state(1000)
    # 4.09 G multiply-adds with the stride in the 3×3 convolutions, 3.86 G with it in the 1×1
    assert flops(model, (3, 224, 224))["dense"] == 4089184256


def test_resnet50_computes_the_papers_network() -> None:
    model = used(models.build("resnet50", (3, 64, 64), 7, 0)).double()
    images = torch.randn(2, 3, 96, 80, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        expected = forward_by_hand(model.state_dict(), images)
        assert (model(images) - expected).abs().max() < 1e-11 * expected.abs().max()


def test_resnet50_trains_and_takes_small_images() -> None:
    model = models.build("resnet50", (1, 64, 64), 7, 0)
    generator = torch.Generator().manual_seed(0)
    model(torch.randn(4, 1, 64, 64, generator=generator)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key
    assert model(torch.randn(2, 1, 8, 8, generator=generator)).shape == (2, 7)


def test_resnet50_is_torchvisions() -> None:
    try:
        from torchvision.models import resnet50
    except (ImportError, RuntimeError) as error:  # the latter: built for another torch
        pytest.skip(f"torchvision can't be imported ({error})")
    theirs, ours = resnet50(num_classes=7), models.build("resnet50", (3, 64, 64), 7, 0)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert [k for k, _ in theirs.named_parameters()] == [k for k, _ in ours.named_parameters()]
    theirs.load_state_dict(used(ours).state_dict())
    theirs, ours = theirs.double(), ours.double()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).double()
    for training in (False, True):
        theirs.train(training)
        ours.train(training)
        with torch.no_grad():
            expected = theirs(images)
            assert (ours(images) - expected).abs().max() < 1e-11 * expected.abs().max()
