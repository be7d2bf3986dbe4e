"""Residual networks for small and large images, Kaiming-normal, seeded; and those of others.

>>> model = build("resnet20", (3, 32, 32), classes=10, seed=0)
>>> sum(p.numel() for p in model.parameters())
272474
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpu_bench.masks.weights import fitting, modes, prunable
from mirrorflow.checks import InputError, meant, whole
from mirrorflow.problems import random_stream

__all__ = ["NAMES", "build"]

PACKAGES = ("torchvision", "timm")


def build(
    name: str,
    dataset_shape: tuple[int, int, int],
    classes: int,
    seed: int,
    classifier: str = "fan-out",
) -> nn.Module:
    """Build a network on the CPU in float32, in training mode.

    Every weight of a convolution or linear layer is drawn from N(0, 2/fan_out) (Kaiming normal,
    He et al. 2015; fan_out = C_out·k² of a convolution, the number of classes for the classifier;
    gain √2 of ReLU), each from its own stream keyed by (model, layer, seed): global random state
    neither matters nor moves, and another input or number of classes leaves the layers between
    unchanged. Biases are 0, batch norm starts at weight 1 and bias 0.

    Parameters
    ----------
    name : {"resnet20", "resnet20-s2", "resnet8", "resnet18", "resnet50"} or FROM:NAME
        torchvision:NAME and timm:NAME are built by these packages, untrained; MODULE:FUNCTION is
        what function(shape, classes) returns. They keep their own initialisation, drawn from
        torch's global generator at a state that `seed` decides.
        resnet20: the CIFAR network of He et al. (2016), 3 stages of 3 blocks with 16, 32, 64
        channels, with projections where the shape changes (their option B, as in the pruning
        literature); 0.27 M weights. With them ‖x‖₁ ≈ 14 860 at the start, of which the PILoT
        paper's K = 8000 is 0.54.
        resnet20-s2: the same layers behind a stem of stride 2: the same 270,896 prunable weights
        for a quarter of the multiply-adds.
        resnet8: one block in each stage; 77,360 prunable weights at 10 classes.
        resnet18: stages of 2 blocks with 64, 128, 256, 512 channels, the same shortcuts, and
        the CIFAR stem (3×3 convolution, stride 1, no max-pool); 11.2 M weights.
        resnet50: the ImageNet network of He et al. (2016) with the stride in the 3×3
        convolution ("v1.5"); its parameters carry torchvision's names in torchvision's order,
        so state_dicts go both ways; 25.6 M weights at 1000 classes.
    dataset_shape : (C, H, W)
        Of one image. H and W of 8, 28, 32, … all work: the last pooling is global.
    classes : int ≥ 2
    seed : int ≥ 0
    classifier : {"fan-out", "fan-in"}
        The classifier's weights are N(0, 2/fan_in) with "fan-in", as in the code of the pruning
        literature; fan_in is 64 in resnet20, and 10 classes then begin with smaller logits.

    Returns
    -------
    nn.Module

    Raises
    ------
    InputError
        If the name is unknown or a size is out of range; if another's model can't be built, has
        nothing to prune or frozen weights, or does not map such images to as many logits as there
        are classes.

    Examples
    --------
    >>> model = build("resnet8", (1, 8, 8), 10, seed=0)
    >>> model(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """
    source(name)
    if len(dataset_shape) != 3:
        raise InputError(f"dataset_shape must be (C, H, W), but it is {dataset_shape!r}.")
    for letter, size in zip("CHW", dataset_shape, strict=True):
        whole(f"dataset_shape's {letter}", size, 1)
    classes, seed = whole("classes", classes, 2), whole("seed", seed, 0)
    # layers draw their first values from the global state when they are made
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        if name not in BUILDERS:
            torch.manual_seed(int(random_stream("model", name, seed).integers(2**63)))
            return _checked(name, _foreign(name, dataset_shape, classes), dataset_shape, classes)
        model = BUILDERS[name](dataset_shape[0], classes)
    _initialise(model, name, seed, classifier)
    return model


def source(name: str, argument: str = "model") -> str | None:
    """Return what the code of another's model is: a package's version, or a hash of its module.

    It belongs to a run's configuration. None of the models here, which the code's digest covers;
    what the module of MODULE:FUNCTION imports is not looked at.

    Raises
    ------
    InputError
        If there is no such model, package or module; the sentence calls it `argument`.
    """
    if name in BUILDERS:
        return None
    package, colon, rest = name.partition(":")
    if not (package and colon and rest):
        rule = f"{argument} must be one of {', '.join(NAMES)}, torchvision:NAME, timm:NAME or"
        raise InputError(f"{rule} MODULE:FUNCTION, but it is {name!r}." + meant(name, NAMES))
    try:
        module = importlib.util.find_spec(package)
    except Exception:  # a package around it may raise what it likes
        module = None
    if package in PACKAGES:
        if module is None:
            raise InputError(
                f"{argument} {name} needs {package}; install it with: pip install {package}."
            )
        return f"{package} {importlib.metadata.version(package)}"
    if module is None or module.origin is None or not Path(module.origin).is_file():
        rule = f"{argument} must name a module that can be imported"
        raise InputError(f"{rule}, but {package!r} can't.")
    return hashlib.sha256(Path(module.origin).read_bytes()).hexdigest()[:20]


def _foreign(name: str, shape: tuple[int, int, int], classes: int) -> Any:
    package, _, rest = name.partition(":")
    try:
        if package == "torchvision":
            models = importlib.import_module("torchvision.models")
            return models.get_model(rest, weights=None, num_classes=classes)
        if package == "timm":
            timm = importlib.import_module("timm")
            return timm.create_model(rest, num_classes=classes, in_chans=shape[0])
        return getattr(importlib.import_module(package), rest)(shape, classes)
    except (Exception, SystemExit) as error:  # another's code raises what it likes
        reason = f"{type(error).__name__}: {str(error)[:200]}"
        raise InputError(f"model {name!r} can't be built ({reason}).") from None


def _checked(name: str, model: Any, shape: tuple[int, int, int], classes: int) -> nn.Module:
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        raise InputError(f"model must be a torch.nn.Module, but {name!r} gives a {kind}.")
    prunable(model)  # refuses one without
    for key, parameter in model.named_parameters():
        if not parameter.requires_grad:
            raise InputError(f"model must train all weights, but {key} of {name!r} is frozen.")
    with modes(model), torch.no_grad(), fitting(f"images of {name!r}", str(shape)):
        logits = model(torch.zeros(2, *shape))
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        result = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"model must map two images to logits of shape {(2, classes)}, but {name!r} gives "
            f"{result}."
        )
    return model.train()


def _shortcut(c_in: int, c_out: int, stride: int) -> nn.Module:
    """The identity, or bn(1×1 convolution) where the shape changes."""
    if stride == 1 and c_in == c_out:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))


class BasicBlock(nn.Module):
    """relu(bn(conv(relu(bn(conv(x))))) + shortcut(x)) with 3×3 convolutions."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = _shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) → (N, c_out, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SmallResNet(nn.Module):
    """A residual network behind a 3×3 convolution of stride `stem`, without a max-pool."""

    def __init__(
        self, channels: int, classes: int, widths: tuple[int, ...], depth: int, stem: int = 1
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, stem, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        c_in, stages = widths[0], []
        for stage, width in enumerate(widths):
            blocks = []
            for i in range(depth):
                stride = 2 if stage and not i else 1
                blocks.append(BasicBlock(c_in, width, stride))
                c_in = width
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(c_in, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits: (N, C, H, W) → (N, classes)."""
        y = self.stages(F.relu(self.bn1(self.conv1(x))))
        return self.fc(y.mean((2, 3)))


class Bottleneck(nn.Module):
    """relu(bn(conv(relu(bn(conv(relu(bn(conv(x)))))))) + shortcut(x)): 1×1, 3×3, 1×1 convolutions.

    The 3×3 one has `width` channels and the stride, the last one 4·width channels.
    """

    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        c_out = 4 * width
        self.conv1 = nn.Conv2d(c_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, c_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample = _shortcut(c_in, c_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, c_in, H, W) → (N, 4·width, ⌈H/stride⌉, ⌈W/stride⌉)."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _bottlenecks(c_in: int, width: int, depth: int, stride: int) -> nn.Sequential:
    later = (Bottleneck(4 * width, width, 1) for _ in range(depth - 1))
    return nn.Sequential(Bottleneck(c_in, width, stride), *later)


class ResNet50(nn.Module):
    """Four stages of bottlenecks behind a 7×7 convolution and a max-pool, each of stride 2."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _bottlenecks(64, 64, depth=3, stride=1)
        self.layer2 = _bottlenecks(256, 128, depth=4, stride=2)
        self.layer3 = _bottlenecks(512, 256, depth=6, stride=2)
        self.layer4 = _bottlenecks(1024, 512, depth=3, stride=2)
        self.fc = nn.Linear(2048, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits: (N, C, H, W) → (N, classes)."""
        y = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        return self.fc(y.mean((2, 3)))


BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet20": partial(SmallResNet, widths=(16, 32, 64), depth=3),
    "resnet20-s2": partial(SmallResNet, widths=(16, 32, 64), depth=3, stem=2),
    "resnet8": partial(SmallResNet, widths=(16, 32, 64), depth=1),
    "resnet18": partial(SmallResNet, widths=(64, 128, 256, 512), depth=2),
    "resnet50": ResNet50,
}
NAMES = tuple(BUILDERS)


def _initialise(model: nn.Module, name: str, seed: int, classifier: str) -> None:
    for layer, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            stream = random_stream("model", name, layer, seed)
            generator = torch.Generator().manual_seed(int(stream.integers(2**63)))
            fan_in = classifier == "fan-in" and isinstance(module, nn.Linear)
            mode: Any = "fan_in" if fan_in else "fan_out"
            nn.init.kaiming_normal_(
                module.weight, mode=mode, nonlinearity="relu", generator=generator
            )
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
