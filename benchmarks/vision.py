"""What m ⊙ w costs, and how fast the trainer is, as ratios within one run.

    python -m benchmarks.vision                                # on a CPU some ten minutes
    python -m benchmarks.vision --data-root data               # real CIFAR-10 (cifar10.npz …)
    python -m benchmarks.vision --device cuda --workers 8

Three parts (--parts), ResNet-20 on digits (batch 128) and on CIFAR-10 (batch 256; without
--data-root random images of its shape, and the table says so):

steps    a training step of every method against the dense one
epochs   an epoch, evaluation included, of gpu_bench's Trainer against a plain PyTorch loop
         (DataLoader with augmentation image by image, eager, float32); on CUDA captured and eager
         steps, bfloat16 and float32, and peak memory
updates  m ⊙ w by the chain rule, as the methods do it, against torch's parametrize, which
         materialises m ⊙ w inside autograd

The entries of a part take turns within each repetition, and a ratio is between times of one
repetition: a busy moment hits all alike. Tables give the median [least, most] over repetitions; a
step's time is the fastest of a repetition. On a CPU with one thread and no workers the times are
processor time, so that other programs stay out, else wall clock. The tables go to stdout and, as
markdown, beside the JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import vision_parts
from benchmarks.vision_parts import Clock, Mode, Setting
from gpu_bench import data, methods
from gpu_bench.data.batches import check_device
from mirrorflow.checks import whole
from mirrorflow.runs.cli import command
from mirrorflow.runs.store import Row, atomic_write, command_line, environment

PARTS = ("steps", "epochs", "updates")
SETTINGS = ("digits", "cifar10")
STEPS = {"cpu": {"digits": 20, "cifar10": 4}, "cuda": {"digits": 100, "cifar10": 100}}
CIFAR10 = (50_000, 10_000)  # training and test images


def measure(given: argparse.Namespace) -> list[Row]:
    """Return the rows that the flags ask for; InputError where a value breaks its rule."""
    if given.steps is not None:
        whole("--steps", given.steps, 1)
    whole("--repeats", given.repeats, 1)
    whole("--threads", given.threads, 1)
    whole("--workers", given.workers, 0)
    for name in given.methods:
        methods.find(name)  # refuses unknown names
    device = check_device(given.device)
    torch.set_num_threads(given.threads)
    cuda = device.type == "cuda"
    torch.backends.cudnn.benchmark = cuda
    both = (True, False)
    modes = [Mode(half, capture, True) for half in both for capture in both] if cuda else [Mode()]
    parts: dict[str, Callable[[Setting], list[Row]]] = {
        "steps": lambda it: vision_parts.steps(it, modes[0], given.methods, given.repeats),
        "epochs": lambda it: vision_parts.epochs(it, modes, given.workers, given.repeats),
        "updates": lambda it: vision_parts.updates(it, given.repeats),
    }
    rows: list[Row] = []
    # all before the first is measured: missing data are said at once
    for setting in [make_setting(name, given, device) for name in given.settings]:
        for part in given.parts:
            print(f"{setting.name}, {part} …", file=sys.stderr, flush=True)
            rows += parts[part](setting)
    return rows


def make_setting(name: str, given: argparse.Namespace, device: torch.device) -> Setting:
    """Return digits or CIFAR-10, which on a CPU is cut to `steps` batches and a fifth as tests."""
    steps = STEPS[device.type][name] if given.steps is None else given.steps
    alone = device.type == "cpu" and given.threads == 1 and given.workers == 0
    clock: Clock = "processor" if alone else "wall"
    if name == "digits":
        return Setting(name, "real images", data.load(name), 128, steps, device, clock)
    batch_size = 256
    sizes = CIFAR10 if device.type == "cuda" else (steps * batch_size, steps * batch_size // 5)
    if given.data_root is None:
        dataset, source = random_images(*sizes), "random images of its shape"
    else:
        dataset, source = first_images(data.load(name, given.data_root), *sizes), "real images"
    return Setting(name, source, dataset, batch_size, steps, device, clock)


def random_images(train: int, test: int) -> data.Dataset:
    """Return random pixels and labels in CIFAR-10's shape, seeded."""
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> tuple[Tensor, Tensor]:
        shape = (count, 3, 32, 32)
        pixels = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        return pixels, torch.randint(10, (count,), generator=generator)

    return data.Dataset.of("random", part(train), part(test), 10, augment=True)


def first_images(dataset: data.Dataset, train: int, test: int) -> data.Dataset:
    """Return the data set cut to its first images; mean and std stay."""
    counts = {"train_images": train, "train_labels": train}
    counts |= {"test_images": test, "test_labels": test}
    cut = {name: getattr(dataset, name)[:count] for name, count in counts.items()}
    return dataclasses.replace(dataset, **cut)


def table(rows: list[Row]) -> str:
    """Return the rows in markdown, one table for each part and setting."""
    lines: list[str] = []
    heading = ""
    for row in rows:
        whole_epochs = row["part"] == "epochs"
        title = f"{row['part']}: ResNet-20, {row['setting']} ({row['images']}), batch "
        title += str(row["batch_size"])
        if whole_epochs:
            title += f"; epochs of {row['train_images']:,} + {row['test_images']:,} images"
        else:
            title += f"; {row['mode']}"
        title += f"; {row['clock']} time"
        if "difference" in row:
            title += f"; the two ways differ by {row['difference']:.0e} after 5 steps"
        if title != heading:
            heading, unit = title, "s per epoch" if whole_epochs else "ms per step"
            columns = [unit, "ratio", "to"]
            if whole_epochs:
                columns += ["training images/s", "peak MiB"]
            lines += ["", f"**{title}**", "", f"| | {' | '.join(columns)} |"]
            lines.append("|---" + "|--:" * len(columns) + "|")
        scale, digits = (1.0, 3) if whole_epochs else (1e3, 2)
        cells = [row["entry"], _spread([scale * value for value in row["seconds"]], digits)]
        own = row["entry"] == row["base"]
        cells += ["1", "itself"] if own else [_spread(row["ratios"], 3), row["base"]]
        if whole_epochs:
            peak = row["peak_mebibytes"]
            cells += [_spread(row["images_per_second"], 0), "–" if peak is None else f"{peak:,.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines).strip() + "\n"


def _spread(values: list[float], digits: int) -> str:
    low, middle, high = (f"{f(values):,.{digits}f}" for f in (np.min, np.median, np.max))
    return f"{middle} [{low}, {high}]"


@command
def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write; returns the exit code: 0 done, 2 bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = "cuda" if torch.cuda.is_available() else "cpu"
    flag = parser.add_argument
    flag("--parts", nargs="+", choices=PARTS, default=PARTS)
    flag("--settings", nargs="+", choices=SETTINGS, default=SETTINGS)
    flag("--methods", nargs="+", default=tuple(methods.METHODS), help="of the part steps (all)")
    flag("--device", default=default, help=f"cpu, cuda or cuda:N ({default})")
    flag("--data-root", type=Path, help="folder with CIFAR-10, as gpu_bench.run reads it")
    flag(
        "--steps",
        type=int,
        help="timed steps of a repetition, and on a CPU the batches of a CIFAR-10 epoch (CPU: 20 "
        "on digits, 4 on CIFAR-10; CUDA: 100)",
    )
    flag("--repeats", type=int, default=5, help="repetitions (5)")
    flag("--threads", type=int, default=1, help="CPU threads of torch (1)")
    flag("--workers", type=int, default=0, help="DataLoader workers of the plain loop (0)")
    flag("--json", type=Path, default=Path("results/vision.json"), help="file to write")
    given = parser.parse_args(arguments)
    rows = measure(given)
    device = torch.device(given.device)
    cuda = device.type == "cuda"
    written = {
        "command": command_line("benchmarks.vision"),
        "device": torch.cuda.get_device_name(device) if cuda else "CPU",
        "threads": given.threads,
        "environment": environment(),
        "rows": rows,
    }
    text = table(rows)
    given.json.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(given.json, json.dumps(written, indent=1).encode())
    atomic_write(given.json.with_suffix(".md"), text.encode())
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
