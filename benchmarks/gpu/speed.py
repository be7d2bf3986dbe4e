"""Seconds per epoch of the trainer and of a plain loop, the cost of m ⊙ w, waits per epoch."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import vision, vision_parts
from benchmarks.gpu.waits import counted
from benchmarks.vision_parts import Mode, Setting
from mirrorflow.results import Row

__all__ = ["fastest", "measure", "setting", "waits"]

METHODS = ("dense", "pilot", "spred", "str")


def fastest(device: torch.device) -> Mode:
    """Return how the trainer runs by default on the device."""
    return Mode(half=True, capture=True, channels_last=True) if device.type == "cuda" else Mode()


def setting(
    device: torch.device, name: str, data_root: Path | None, steps: int | None = None
) -> Setting:
    """Return the images that all measurements share: digits, or CIFAR-10.

    CIFAR-10 without `data_root` is random images of its shape, and on a CPU cut short.
    """
    given = argparse.Namespace(steps=steps, data_root=data_root, threads=1, workers=1)
    return vision.make_setting(name, given, device)


def measure(setting: Setting, repeats: int, workers: int) -> Row:
    """Time steps and epochs as `benchmarks.vision` does.

    Returns
    -------
    dict
        `epoch_seconds`: median of the trainer's own, evaluation included, of `dense` and `pilot`;
        `plain_seconds`: of the plain loop with that many DataLoader workers; `ratios`: each
        method's step to the dense one, median over repetitions; `waits`: of one epoch; `rows`:
        all that was measured.
    """
    mode = fastest(setting.device)
    modes = [mode]
    if mode.capture:
        modes += [Mode(True, False, True), Mode(False, True, True), Mode(False, False, True)]
    steps = vision_parts.steps(setting, mode, METHODS, repeats)
    epochs = vision_parts.epochs(setting, modes, workers, repeats)
    seconds = {row["entry"]: float(np.median(row["seconds"])) for row in epochs}
    plain = next(row["base"] for row in epochs)
    return {
        "setting": setting.name,
        "images": setting.source,
        "batch_size": setting.batch_size,
        "mode": mode.words,
        "epoch_seconds": {
            name: seconds[f"Trainer, {name}, {mode.words}"] for name in ("dense", "pilot")
        },
        "plain_seconds": seconds[plain],
        "ratios": {row["entry"]: float(np.median(row["ratios"])) for row in steps},
        "waits": waits(setting, "pilot"),
        "rows": [*steps, *epochs],
    }


def waits(setting: Setting, name: str) -> list[str]:
    """Return what made the host wait in the second of two epochs, evaluation included."""
    mode = fastest(setting.device)
    batches = setting.batches(mode)
    trainer = setting.trainer(name, mode, epochs=2)
    found: list[str] = []
    with contextlib.ExitStack() as stack:

        def tell(record: Any) -> None:  # called between the epochs
            nonlocal found
            if len(trainer.history.epochs) == 1:
                found = stack.enter_context(counted(setting.device))
            else:
                stack.close()

        trainer.train(batches, lambda: trainer.accuracy(batches.evaluation()), tell)
    return found
