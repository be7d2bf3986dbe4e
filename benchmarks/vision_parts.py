"""What `benchmarks.vision` measures: steps of the methods, epochs, two ways to update m ⊙ w."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import SPREAD, spread
from benchmarks.plain_loop import PlainLoop, sgd, sgd_step
from gpu_bench import data, masks, methods, models
from gpu_bench.rates import learning_rates
from gpu_bench.train import Trainer
from mirrorflow.pilot import fold, parameter_groups, reparametrize
from mirrorflow.runs.store import Row

if TYPE_CHECKING:
    from mirrorflow.runs.study import Result

__all__ = ["Clock", "Mode", "Setting", "compute", "difference", "epochs", "interleaved"]
__all__ += ["make_setting", "steps", "updates"]

Clock = Literal["processor", "wall"]

LR = 1e-3  # small: the same batch again and again must not drive the weights anywhere
TOTAL = 1e-3  # A of the steps: weights that shrank to subnormal numbers would slow some methods
STEPS = {"cpu": {"digits": 20, "cifar10": 4}, "cuda": {"digits": 100, "cifar10": 100}}
CIFAR10 = (50_000, 10_000)  # training and test images
COLUMNS = ("entry", "base", "mode", "peak_mebibytes")
COLUMNS += tuple(f"{part}_{what}" for what in ("seconds", "ratio", "rate") for part in SPREAD)
SHARED = ("images", "batch_size", "clock", "difference", "train_images", "test_images")
WARM_UP = 5  # steps before the first timed one: memory, choice of kernels, CUDA graph


@dataclass(frozen=True, slots=True)
class Mode:
    """How the trainer runs."""

    half: bool = False
    capture: bool = False
    channels_last: bool = False

    @property
    def words(self) -> str:
        """The mode in two words."""
        return f"{'captured' if self.capture else 'eager'} {'bf16' if self.half else 'fp32'}"


PLAIN = Mode()


@dataclass(frozen=True, slots=True)
class Setting:
    """What a part is measured on: images (`source` says where they are from), batch, device.

    `steps` is the number of timed steps per repetition, `clock` what times are read from:
    "processor" (time of this process: on a busy machine what other programs take stays out) or
    "wall" (where more than one thread, a GPU or DataLoader workers share the work).
    """

    name: str
    source: str
    dataset: data.Dataset
    batch_size: int
    steps: int
    device: torch.device
    clock: Clock
    dtype: torch.dtype = torch.float32  # of weights and images; a mode may ask for bfloat16

    def now(self) -> float:
        """Return the clock's seconds, once the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.clock == "processor" else time.perf_counter()

    def timed(self, call: Callable[[], Any]) -> float:
        """Return the seconds of a call."""
        start = self.now()
        call()
        return self.now() - start

    def model(self, mode: Mode = PLAIN) -> nn.Module:
        """Return ResNet-20 with the weights of seed 0."""
        layout = torch.channels_last if mode.channels_last else torch.contiguous_format
        model = models.build("resnet20", self.dataset.shape, self.dataset.classes, seed=0)
        return model.to(self.device, self.dtype, memory_format=layout)  # type: ignore[call-overload]

    def batches(self, mode: Mode = PLAIN) -> data.Batches:
        """Return the batches on the device."""
        dtype = torch.bfloat16 if mode.half else self.dtype
        last = mode.channels_last
        return data.Batches(self.dataset, self.batch_size, 0, self.device, dtype, last)

    def trainer(self, name: str, mode: Mode = PLAIN, epochs: int = 1) -> Trainer:
        """Return a fresh trainer with constant learning rate."""
        per_epoch = len(self.dataset.train_labels) // self.batch_size
        rates = learning_rates(LR, "constant", epochs, per_epoch, 0.0)
        kind = methods.find(name)
        method = kind(**({"total": TOTAL} if name in ("pilot", "spred") else {}))
        return Trainer(
            self.model(mode), method, rates, epochs, half=mode.half, capture=mode.capture
        )

    def step(self, trainer: Trainer, mode: Mode = PLAIN) -> Callable[[], None]:
        """Return one training step on always the same batch."""
        trainer.model.train()
        return partial(trainer.step, *next(iter(self.batches(mode).epoch(1))), LR)


def compute(specs: Sequence[Row]) -> list[Result]:
    """One row for each part and setting, in it a list over its entries for each of `COLUMNS`."""
    return [_computed(spec) for spec in specs]


def _computed(spec: Row) -> Result:
    device, repeats = torch.device(spec["device"]), spec["repeats"]
    torch.set_num_threads(spec["threads"])
    torch.backends.cudnn.benchmark = cuda = device.type == "cuda"
    both = (True, False)
    modes = [Mode(half, capture, True) for half in both for capture in both] if cuda else [PLAIN]
    setting = make_setting(spec["setting"], SimpleNamespace(**spec), device)
    if spec["part"] == "steps":
        rows = steps(setting, modes[0], spec["methods"].split(), repeats)
    elif spec["part"] == "epochs":
        rows = epochs(setting, modes, spec["workers"], repeats)
    else:
        rows = updates(setting, repeats)
    entries: list[Row] = [
        {**row, **spread(row["seconds"], "seconds"), **spread(row["ratios"], "ratio")}
        | spread(row.get("images_per_second", [np.nan]), "rate")
        for row in rows
    ]
    shared = {name: rows[0][name] for name in SHARED if name in rows[0]}
    lists = {f"{name}_of_entries": [entry.get(name) for entry in entries] for name in COLUMNS}
    seconds = np.array([row["seconds"] for row in rows])
    return {"status": "measured", "message": "", **shared, **lists}, {"seconds": seconds}


def make_setting(name: str, given: Any, device: torch.device) -> Setting:
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
    arrays = {name: getattr(dataset, name)[:count] for name, count in counts.items()}
    return dataclasses.replace(dataset, **arrays)


def interleaved(
    entries: Mapping[str, Callable[[], Any]], setting: Setting, repeats: int
) -> dict[str, list[float]]:
    """Return seconds per step of each repetition; the entries take their steps in turn.

    A repetition's value is the fastest of its steps: what other programs do only adds.
    """
    for advance in entries.values():
        for _ in range(WARM_UP):
            advance()
    seconds: dict[str, list[float]] = {name: [] for name in entries}
    for _ in range(repeats):
        rounds = [
            [setting.timed(advance) for advance in entries.values()] for _ in range(setting.steps)
        ]
        for name, times in zip(entries, zip(*rounds, strict=True), strict=True):
            seconds[name].append(min(times))
    return seconds


def steps(setting: Setting, mode: Mode, names: Sequence[str], repeats: int) -> list[Row]:
    """A training step of every method against the dense one."""
    names = list(dict.fromkeys(["dense", *names]))
    entries = {name: setting.step(setting.trainer(name, mode), mode) for name in names}
    seconds = interleaved(entries, setting, repeats)
    facts = {"part": "steps", "mode": mode.words}
    return [_row(setting, facts, name, "dense", seconds) for name in names]


def updates(setting: Setting, repeats: int) -> list[Row]:
    """m ⊙ w by the chain rule and by parametrize, each against the dense step of its own loop."""
    entries = {name: setting.step(setting.trainer(name)) for name in ("dense", "spred")}
    entries["plain loop, dense"] = _plain_step(setting)
    entries["plain loop, parametrize"] = _product_step(setting)[1]
    seconds = interleaved(entries, setting, repeats)
    bases = {"spred": "dense", "plain loop, parametrize": "plain loop, dense"}
    facts = {"part": "updates", "mode": PLAIN.words, "difference": difference(setting)}
    return [_row(setting, facts, name, bases.get(name, name), seconds) for name in entries]


def difference(setting: Setting, count: int = 5) -> float:
    """How far the two ways to update m ⊙ w come apart in `count` steps from the same start.

    The largest difference of a weight over the largest change of a weight, in float64: float32's
    roundings grow by 1e4 in five steps, more or less on different kernels.
    """
    setting = replace(setting, dtype=torch.float64)
    trainer, (product, advance) = setting.trainer("spred"), _product_step(setting)
    start, ours = _weights(trainer.model), setting.step(trainer)
    for _ in range(count):
        ours()
        advance()
    ends = _weights(trainer.fold()), _weights(fold(product))
    return float((ends[0] - ends[1]).abs().max() / (ends[0] - start).abs().max())


def _plain_step(setting: Setting) -> Callable[[], Any]:
    model = setting.model().train()
    batch = next(iter(setting.batches().epoch(1)))
    return partial(sgd_step, model, sgd(model, LR), *batch)


def _product_step(setting: Setting) -> tuple[nn.Module, Callable[[], Any]]:
    """spred's step as `mirrorflow.pilot` and torch do it: m ⊙ w in the forward pass."""
    model = reparametrize(setting.model().train(), init="balanced")
    alpha = setting.trainer("spred").method.alpha or 0.0
    optimizer = torch.optim.SGD(parameter_groups(model, 1e-4, alpha), LR, momentum=0.9)
    batch = next(iter(setting.batches().epoch(1)))
    return model, partial(sgd_step, model, optimizer, *batch)


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in masks.prunable(model).values()])


def epochs(
    setting: Setting,
    modes: Sequence[Mode],
    workers: int,
    repeats: int,
    others: Mapping[str, Callable[[], float]] | None = None,
) -> list[Row]:
    """Epochs with their evaluation: a plain loop, others by name, the trainer in every mode."""
    base = f"plain loop, {workers} DataLoader workers"
    plain = PlainLoop(
        setting.model(), setting.dataset, setting.batch_size, setting.device, LR, workers
    )
    entries: dict[str, tuple[Mode, Callable[[], float]]] = {
        base: (PLAIN, partial(setting.timed, plain.epoch))
    }
    entries |= {name: (Mode(half=True), epoch) for name, epoch in (others or {}).items()}
    for mode in modes:
        for name in ("dense", "pilot"):
            entry = f"Trainer, {name}, {mode.words}"
            entries[entry] = mode, partial(trainer_epoch, setting, mode, name)
    plain.epoch()  # starts the workers
    seconds: dict[str, list[float]] = {entry: [] for entry in entries}
    peaks: dict[str, float] = {}
    for _ in range(repeats):
        for entry, (_, call) in entries.items():
            if setting.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(setting.device)
            seconds[entry].append(call())
            if setting.device.type == "cuda":
                peaks[entry] = torch.cuda.max_memory_allocated(setting.device) / 2**20
    images = len(plain.train) * setting.batch_size
    rows = []
    for entry, (mode, _) in entries.items():
        facts = {
            "part": "epochs",
            "mode": mode.words,
            "train_images": images,
            "test_images": len(setting.dataset.test_labels),
            "images_per_second": [images / value for value in seconds[entry]],
            "peak_mebibytes": peaks.get(entry),
        }
        rows.append(_row(setting, facts, entry, base, seconds))
    return rows


def trainer_epoch(setting: Setting, mode: Mode, name: str) -> float:
    """Return the seconds of the last epoch of a fresh trainer, evaluation included.

    On CUDA an epoch goes before it, which chooses kernels and captures the step.
    """
    batches = setting.batches(mode)
    trainer = setting.trainer(name, mode, epochs=2 if setting.device.type == "cuda" else 1)
    ends = [setting.now()]
    trainer.train(
        batches,
        lambda: trainer.accuracy(batches.evaluation()),
        lambda _: ends.append(setting.now()),
    )
    return ends[-1] - ends[-2]


def _row(
    setting: Setting, facts: Row, entry: str, base: str, seconds: Mapping[str, list[float]]
) -> Row:
    ratios = [own / other for own, other in zip(seconds[entry], seconds[base], strict=True)]
    names: Row = {"setting": setting.name, "images": setting.source}
    names |= {"batch_size": setting.batch_size, "clock": setting.clock}
    measured = {"entry": entry, "base": base, "seconds": seconds[entry], "ratios": ratios}
    return {**names, **facts, **measured}
