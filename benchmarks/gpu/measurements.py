"""Measurements of a device: its rates, epochs, m ⊙ w against dense, the profile of a step.

On random images of CIFAR-10's shape (or on digits): times don't depend on the pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import vision, vision_parts
from benchmarks.plain_loop import sgd, sgd_step
from benchmarks.vision_parts import LR, WARM_UP, Mode, Setting
from mirrorflow.runs.store import Row

__all__ = ["stages"]

REPEATS = 3
METHODS = ("dense", "pilot", "spred", "str")  # whose step is timed
WORKERS = {"cuda": 8, "cpu": 0}  # of the plain loop's DataLoader
LONGEST = 12  # kernels of the profile
CALLS = 10
# bytes copied and side of the square matrices: far more than the caches hold, short all the same
SIZES = {"cuda": (2**32, 8192), "cpu": (2**26, 1024)}


def stages(device: torch.device, dataset: str) -> dict[str, Callable[[], Row]]:
    """Return the measurements by name."""
    flags = argparse.Namespace(steps=None, data_root=None, threads=1, workers=1)
    make = partial(vision.make_setting, dataset, flags, device)
    mode = fastest(device)
    return {
        "device": lambda: rates(make()),
        "epochs": lambda: epochs(make()),
        "methods": lambda: {"rows": vision_parts.steps(make(), mode, METHODS, REPEATS)},
        "profile": lambda: profiled(make()),
    }


def fastest(device: torch.device) -> Mode:
    """Return how the trainer runs by default on the device."""
    return Mode(half=True, capture=True, channels_last=True) if device.type == "cuda" else Mode()


def rates(setting: Setting) -> Row:
    """Return the best rates on random data, by which work of b bytes and f flop is bounded.

    It takes at least max(b/copy_rate, f/product_rate): bytes/s read plus written by a copy on the
    device, flop/s of a square bfloat16 product.
    """
    device = setting.device
    count, side = SIZES[device.type]
    source = torch.randint(256, (count,), dtype=torch.uint8, device=device)
    # never zeros: some chips multiply them faster
    left, right = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    target, product = torch.empty_like(source), torch.empty_like(left)

    def best(call: Callable[[], object]) -> float:
        call()
        times = [setting.timed(lambda: [call() for _ in range(CALLS)]) for _ in range(REPEATS)]
        return min(times) / CALLS

    return {
        "copy_rate": 2.0 * count / best(lambda: target.copy_(source)),
        "product_rate": 2.0 * side**3 / best(lambda: torch.mm(left, right, out=product)),
    }


def epochs(setting: Setting) -> Row:
    """Time epochs as `benchmarks.vision` does, on CUDA beside a compiled loop.

    `rows` are its rows; `failure` says why there is no compiled loop: it needs a C compiler.
    """
    mode, failure = fastest(setting.device), ""
    modes, others = [mode], {}
    if mode.capture:
        modes += [Mode(True, False, True), Mode(False, True, True), Mode(False, False, True)]
        compiled = CompiledLoop(setting, mode)
        try:
            compiled.epoch()  # compiles
            others = {"compiled loop, bf16": partial(setting.timed, compiled.epoch)}
        except Exception as error:
            failure = str(error)[:2000]
    workers = WORKERS[setting.device.type]
    rows = vision_parts.epochs(setting, modes, workers, REPEATS, others)
    return {"rows": rows, "failure": failure}


class CompiledLoop:
    """Epochs as airbench has them: images on the device, bfloat16 autocast, a compiled network."""

    def __init__(self, setting: Setting, mode: Mode) -> None:
        self.setting, self.batches, self.model = setting, setting.batches(mode), setting.model(mode)
        self.network = torch.compile(self.model, mode="reduce-overhead")
        self.optimizer = sgd(self.model, LR)
        self.done = 0

    def epoch(self) -> float:
        """Train one epoch, then evaluate; returns the test accuracy."""
        self.done += 1
        hits = torch.zeros((), device=self.setting.device)
        with torch.autocast(self.setting.device.type, torch.bfloat16):
            self.model.train()
            for images, labels in self.batches.epoch(self.done):
                sgd_step(self.network, self.optimizer, images, labels)
            self.model.eval()
            with torch.no_grad():
                for images, labels in self.batches.evaluation():
                    hits += (self.network(images).argmax(1) == labels).sum()
        return float(hits) / len(self.setting.dataset.test_labels)


def profiled(setting: Setting) -> Row:
    """Profile training steps of PILoT, and count what an eager step does.

    Returns
    -------
    dict
        `step_seconds`, without the profiler; of one step `kernel_seconds`, `kernel_count` (of
        operators on a CPU), the longest `kernels` (name, calls, seconds), `flops` of convolutions
        and products, `bytes` that operators read and write where no two are fused.
    """
    mode = fastest(setting.device)
    advance = setting.step(setting.trainer("pilot", mode), mode)
    for _ in range(WARM_UP):
        advance()
    seconds = min(setting.timed(advance) for _ in range(setting.steps))
    with profile() as seen:
        setting.timed(lambda: [advance() for _ in range(setting.steps)])
    # an operator on the host is charged with the kernels that it starts: count those alone
    kind = setting.device.type
    own = "self_device_time_total" if kind == "cuda" else "self_cpu_time_total"
    kernels = [
        (event.key[:120], event.count / setting.steps, 1e-6 * getattr(event, own) / setting.steps)
        for event in seen.key_averages()
        if event.device_type.name.lower() == kind
    ]
    eager = Mode(mode.half, False, mode.channels_last)
    once = setting.step(setting.trainer("pilot", eager), eager)
    with _Traffic() as traffic, FlopCounterMode(display=False) as counter:
        once()
    return {
        "mode": mode.words,
        "step_seconds": seconds,
        "kernel_seconds": sum(kernel[2] for kernel in kernels),
        "kernel_count": sum(kernel[1] for kernel in kernels),
        "kernels": sorted(kernels, key=lambda kernel: -kernel[2])[:LONGEST],
        "flops": counter.get_total_flops(),
        "bytes": traffic.bytes,
    }


class _Traffic(TorchDispatchMode):
    """Bytes of what operators read and write."""

    bytes = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            moved = tree_leaves((args, kwargs, result))
            self.bytes += sum(one.nbytes for one in moved if isinstance(one, torch.Tensor))
        return result
