"""Does the total A = Σ ηα/(1 − momentum) decide how sparse a network becomes?

    python -m benchmarks.total_decay              # 180 runs, some 20 minutes of one core
    python -m benchmarks.total_decay --jobs 2     # the same numbers in less time

ResNet-20 on scikit-learn's digits by pilot and spred, α constant over a run, for every epochs ×
learning rate × A × seed of the grid. Each run is on disk as soon as it is done and is not repeated.
OUT gets rows.parquet (a row per run), manifest.json, the two figures and collapse.md: how far the
curves of the settings (epochs, learning rate) lie apart over A, and over α. docs/total_decay.md
says what came out.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import gpu_bench
import mirrorflow
from benchmarks import collapse
from gpu_bench import data, masks, methods, models
from gpu_bench.rates import learning_rates
from gpu_bench.train import Trainer
from mirrorflow.checks import InputError, number, whole
from mirrorflow.execution import Failure, carry, crew
from mirrorflow.results import Folder, Row, Run, code_digest, command_line

METHODS = ("pilot", "spred")
BATCH_SIZE, MOMENTUM, BETA = 128, 0.9, 1.0
CUT = 0.95  # the sparsity whose accuracy is shown
LOSS = 0.01  # accuracy that a cut may cost and still be free
# what these hold changes no number of a run
PRESENTATION = ("report", "grid.py", "run.py", "settings", "protocols/")


def compute(spec: Row) -> Row:
    """Train one network and cut it; accuracies are shares of the 360 test images.

    Returns
    -------
    dict
        `alpha`; `rate_sum` Σ η/(1 − momentum); `total_spent`, A as the trainer added it up;
        `uncut_running`, accuracy with the running statistics of batch norm, as
        `python -m gpu_bench.run` reads it, `cut_running` at sparsity 95 %; `uncut`, `cut`: the
        same with statistics of the final weights (`fresh_statistics`); `kept`, the least share
        of weights that costs at most a point of `uncut`; `below_scale`, share with
        |x| < a = ½βe^{−4A} (pilot; spred has β = 0); `effective_density` ‖x‖₁²/(N‖x‖₂²).
    """
    torch.set_num_threads(1)
    started = time.perf_counter()
    digits = data.load("digits")
    batches = digits.batches(BATCH_SIZE, spec["seed"])
    epochs = spec["epochs"]
    rates = learning_rates(spec["lr"], "cosine", epochs, len(batches), epochs / 30)
    method = methods.build(
        spec["method"], {"total": spec["total"], "beta": BETA, "controller": False}
    )
    model = models.build("resnet20", digits.shape, digits.classes, spec["seed"])
    trainer = Trainer(model, method, rates, epochs, MOMENTUM)
    history = trainer.train(batches)
    trainer.fold()
    trained = {name: value.clone() for name, value in model.state_dict().items()}

    def accuracy(sparsity: float = 0.0) -> float:
        weights = {name: weight.detach() for name, weight in masks.prunable(model).items()}
        masks.apply(model, masks.magnitude(weights, sparsity))
        return float(trainer.accuracy(batches.evaluation()))

    row: Row = {
        "status": history.status,
        "alpha": method.alpha,
        "rate_sum": float(rates.sum()) / (1.0 - MOMENTUM),
        "total_spent": history.epochs[-1].total,
        "train_accuracy": history.epochs[-1].accuracy,
        "uncut_running": accuracy(),
        "cut_running": accuracy(CUT),
    }
    model.load_state_dict(trained)
    fresh_statistics(model, batches)
    x = torch.cat([weight.detach().flatten() for weight in masks.prunable(model).values()])
    scale = 0.5 * BETA * math.exp(-4.0 * spec["total"])
    pilot = spec["method"] == "pilot"
    row["effective_density"] = float(x.abs().sum().square() / (len(x) * x.square().sum()))
    row["below_scale"] = float((x.abs() < scale).double().mean()) if pilot else None
    row["uncut"] = accuracy()
    # a larger cut contains every smaller one, so nothing has to be put back between them
    cuts = {sparsity: accuracy(sparsity) for sparsity in masks.SPARSITIES if sparsity < CUT}
    row["cut"] = cuts[CUT] = accuracy(CUT)
    cuts |= {sparsity: accuracy(sparsity) for sparsity in masks.SPARSITIES if sparsity > CUT}
    free = itertools.takewhile(lambda item: item[1] >= row["uncut"] - LOSS - 1e-9, cuts.items())
    row["kept"] = 1.0 - max((sparsity for sparsity, _ in free), default=0.0)
    row["wall_seconds"] = time.perf_counter() - started
    return row


@torch.no_grad()
def fresh_statistics(model: nn.Module, batches: Any) -> None:
    """Set batch norm's running statistics to the mean over one epoch at the present weights."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the plain mean over all batches
    model.train()
    for images, _ in batches.epoch(0):
        model(images)


def runs(given: argparse.Namespace) -> list[Run]:
    """Return the grid, the short runs first; raises InputError where a value breaks its rule."""
    for name in given.methods:
        if name not in METHODS:
            raise InputError(f"--methods must be among {', '.join(METHODS)}, but {name!r} is not.")
    for epochs in given.epochs:
        whole("--epochs", epochs, 1)
    for flag, values in (("--lr", given.lr), ("--totals", given.totals)):
        for value in values:
            number(flag, value, 0.0, open_low=True)
    whole("--seeds", given.seeds, 1)
    whole("--jobs", given.jobs, 1)
    digest = (
        code_digest(Path(gpu_bench.__file__).parent, PRESENTATION)
        + code_digest(Path(mirrorflow.__file__).parent / "pilot", ())
        + hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    )
    grid = itertools.product(
        sorted(given.epochs), given.lr, given.totals, given.methods, range(given.seeds)
    )
    names = ("epochs", "lr", "total", "method", "seed")
    return [Run(dict(zip(names, values, strict=True)), digest) for values in grid]


def _compute(batch: Sequence[Run]) -> list[Row]:
    return [compute(run.spec) for run in batch]


def main(arguments: list[str] | None = None) -> int:
    """Compute what is missing, draw; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--epochs", nargs="+", type=int, default=[8, 16, 32])
    parser.add_argument("--lr", nargs="+", type=float, default=[0.1, 0.2, 0.4], help="peak η")
    parser.add_argument("--totals", nargs="+", type=float, default=[0.5, 1, 2, 4, 6], help="A")
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("results/total-decay"))
    given = parser.parse_args(arguments)
    try:
        whole("--jobs", given.jobs, 1)
        grid, folder = runs(given), Folder(given.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    todo = [run for run in grid if folder.read(run) is None]
    with crew(given.jobs) as workers:
        work = carry(_compute, [[run] for run in todo], workers)
        for done, ((run,), outcome) in enumerate(work, 1):
            if isinstance(outcome, Failure):
                print(f"error: a run failed: {run.spec}\n{outcome.message}", file=sys.stderr)
                return 1
            folder.write(run, outcome[0], {})
            said = f"accuracy at 95 %: {outcome[0]['cut']:.3f}"
            print(f"{done}/{len(todo)} {run.spec} {said}", file=sys.stderr)
    values = {name: value for name, value in vars(given).items() if name != "out"}
    frame = folder.consolidate(grid, command_line("benchmarks.total_decay"), values)
    print(collapse.report(frame, given.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
