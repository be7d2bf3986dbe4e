"""One run of the benchmark of the total decay: a network trained by pilot or spred, and cut."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gpu_bench import data, masks, models
from gpu_bench.methods.pilot import Pilot
from gpu_bench.methods.product import Decayed
from gpu_bench.methods.spred import Spred
from gpu_bench.rates import learning_rates
from gpu_bench.train import Trainer
from mirrorflow.pilot import free_total

if TYPE_CHECKING:
    from mirrorflow.runs.store import Row
    from mirrorflow.runs.study import Result

__all__ = ["compute"]

BATCH_SIZE, MOMENTUM, BETA = 128, 0.9, 1.0
CUT = 0.95  # the sparsity whose accuracy is shown
LOSS = 0.01  # accuracy that a cut may cost and still be free


class _Nominal(Decayed):
    """With α for the nominal total, beyond what momentum lets it spend."""

    def constant_alpha(self) -> float:
        assert self.total is not None
        return self.total / self.plan.rate_sum


class _Spred(_Nominal, Spred):
    pass


class _Pilot(_Nominal, Pilot):
    pass


NOMINAL: dict[str, type[Decayed]] = {"spred": _Spred, "pilot": _Pilot}


def compute(specs: Sequence[Row]) -> list[Result]:
    """The row of each specification; there are no arrays."""
    return [(_row(spec), {}) for spec in specs]


def _row(spec: Row) -> Row:
    """Train one network and cut it; accuracies are shares of the 360 test images.

    Returns
    -------
    dict
        `alpha`; `rate_sum` Σ η/(1 − momentum); `total_spent`, A as the trainer added it up;
        `total_free`, A of free decay, and the scale a = ½βe^{−4A} that follows, `scale_free`;
        `uncut_running`, accuracy with the running statistics of batch norm, as
        `python -m gpu_bench.run` reads it, `cut_running` at sparsity 95 %; `uncut`, `cut`: the
        same with statistics of the final weights (`Trainer.refresh`); `kept`, the least share
        of weights that costs at most a point of `uncut`; `below_scale`, share with
        |x| < a (pilot; spred has a = 0); `effective_density` ‖x‖₁²/(N‖x‖₂²).
    """
    torch.set_num_threads(1)
    started = time.perf_counter()
    digits = data.load("digits")
    batches = data.Batches(digits, BATCH_SIZE, spec["seed"])
    epochs = spec["epochs"]
    rates = learning_rates(spec["lr"], "cosine", epochs, len(batches), epochs / 30)
    only = {"beta": BETA, "swing": 1.0} if spec["method"] == "pilot" else {}
    method = NOMINAL[spec["method"]](total=spec["total"], **only)
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
        "total_free": free_total(rates, method.alpha or 0.0, MOMENTUM),
        "train_accuracy": history.epochs[-1].accuracy,
        "uncut_running": accuracy(),
        "cut_running": accuracy(CUT),
    }
    model.load_state_dict(trained)
    trainer.refresh(batches.epoch(0))
    x = torch.cat([weight.detach().flatten() for weight in masks.prunable(model).values()])
    pilot = spec["method"] == "pilot"
    row["scale_free"] = 0.5 * BETA * math.exp(-4.0 * row["total_free"]) if pilot else 0.0
    row["effective_density"] = float(x.abs().sum().square() / (len(x) * x.square().sum()))
    below = float((x.abs() < row["scale_free"]).double().mean())
    row["below_scale"] = below if pilot else None
    row["uncut"] = accuracy()
    # a larger cut contains every smaller one, so nothing has to be put back between them
    scores = {sparsity: accuracy(sparsity) for sparsity in masks.SPARSITIES if sparsity < CUT}
    row["cut"] = scores[CUT] = accuracy(CUT)
    scores |= {sparsity: accuracy(sparsity) for sparsity in masks.SPARSITIES if sparsity > CUT}
    free = itertools.takewhile(lambda item: item[1] >= row["uncut"] - LOSS - 1e-9, scores.items())
    row["kept"] = 1.0 - max((sparsity for sparsity, _ in free), default=0.0)
    row["wall_seconds"] = time.perf_counter() - started
    return row
