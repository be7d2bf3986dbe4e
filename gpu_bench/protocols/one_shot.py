"""One-shot sparsification: train, fold, cut the smallest weights, read the accuracy.

For each requested sparsity the globally smallest |x| among the prunable weights are set to zero
(an exact count) and the accuracy of what is left is read, without further training, on the test
images (or, with `validation` > 0, on a part held out of the training images: that is where
hyperparameters are to be chosen). Always the last epoch's weights, never the best epoch's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gpu_bench import cycles, exports, masks
from gpu_bench.checkpoints import Checkpoints
from gpu_bench.experiment import Experiment, Place
from gpu_bench.ranks import Ranks
from gpu_bench.sparsities import shown
from gpu_bench.train import Epoch
from mirrorflow.checks import Array
from mirrorflow.runs.store import Row, Run

__all__ = ["COLUMNS", "compute"]

# lists of a run's row whose entries become rows of their own, one for each sparsity
COLUMNS = {
    "sparsities": "sparsity",
    "measured_sparsity": "measured_sparsity",
    "accuracy": "accuracy",
    "fresh_accuracy": "fresh_accuracy",
}


def compute(
    run: Run, place: Place, ranks: Ranks, tell: Callable[[Epoch], None] | None = None
) -> tuple[Row, dict[str, Array]]:
    """Train one configuration and read it at every sparsity.

    Returns
    -------
    row : dict
        Scalars of the run, among them `last_accuracy` (the network as it was trained) and
        `uncut_accuracy` (folded: for continuous sparsification another network, its mask is
        hard), and lists over the sparsities: `measured_sparsity`, `accuracy`, `fresh_accuracy`.
        The fresh ones are with batch norm's statistics taken at the weights that are read.
    arrays : dict
        One entry per epoch: `loss`, `accuracy` (running), `test_accuracy`, `norm` (‖x‖₁),
        `alpha`, `total` (A), `images_per_second`; and `layer_density` (sparsities, layers).

    Raises
    ------
    InputError
        If the data are missing or the batch does not fit.
    """
    started, spec = time.perf_counter(), run.spec
    experiment = Experiment(spec, place, ranks)
    checkpoints = Checkpoints(place.out / "checkpoints", run.key)
    outcome = cycles.run(experiment, cycles.Course(1, lambda *_: None), checkpoints, tell)
    sparsities = spec["sparsities"]
    if outcome.status == "completed":
        lists, densities, cuts = _read_all(experiment, outcome.trainer, sparsities)
    else:
        lists, cuts = dict.fromkeys(COLUMNS, [math.nan] * len(sparsities)), {}
        densities = np.full((len(sparsities), len(experiment.layout.sizes)), math.nan)
    start = exports.stem(run)
    row: Row = {
        "status": outcome.status,
        "message": outcome.message,
        **lists,
        "sparsities": sparsities,
        **_scalars(outcome),
        **experiment.machine(),
        "files": start,
        "wall_seconds": time.perf_counter() - started,
    }
    if ranks.first:
        path = place.out / "weights" / start
        exports.export(path, spec, row, experiment.model, experiment.shape, cuts)
    return row, {**outcome.curves(), "layer_density": densities}


def _scalars(outcome: cycles.Outcome) -> Row:
    trainer, last = outcome.trainer, outcome.epochs[-1]
    completed = outcome.status == "completed"
    alpha, x = trainer.method.alpha, trainer.x.values
    return {
        "uncut_accuracy": outcome.cycles[0].accuracy if completed else math.nan,
        "fresh_uncut_accuracy": outcome.cycles[0].fresh_accuracy if completed else math.nan,
        "last_accuracy": last.test_accuracy,
        "train_accuracy": last.accuracy,
        "train_loss": last.loss,
        "epochs_done": last.number,
        "steps": trainer.steps,
        "training_flops": outcome.cycles[0].flops if completed else math.nan,  # multiply-adds
        "rate_sum": trainer.plan.rate_sum,
        "alpha_first": outcome.epochs[0].alpha if alpha is not None else None,
        "alpha_last": last.alpha if alpha is not None else None,
        "total_spent": last.total if alpha is not None else None,
        "predicted_scale": cycles.predicted_scale(trainer.method, last.total),
        "norm_initial": trainer.initial_norm,
        "norm_final": float(torch.linalg.vector_norm(x, 1)),
        "exact_zeros": float((x == 0).double().mean()),
        "prunable_weights": x.numel(),
        "images_per_second": float(np.median([e.images_per_second for e in outcome.epochs])),
        # the controller's readings and the temperature, as the method names them
        **{f"method_{name}": value for name, value in trainer.method.readings().items()},
    }


Cuts = dict[float, dict[str, Tensor]]


def _read_all(
    experiment: Experiment, trainer: cycles.Trainer, sparsities: list[float]
) -> tuple[dict[str, list[float]], Array, Cuts]:
    """Return what is read and the layer densities at each sparsity, and the masks of those that
    the table shows; the model is left as it was."""
    model, x = trainer.model, trainer.x.values
    whole = x.clone()
    kept = shown(sparsities)
    cuts: Cuts = {}
    accuracies, fresh, measured, densities = [], [], [], []
    for sparsity in sparsities:
        x.copy_(whole)
        weights = {k: p.detach() for k, p in masks.prunable(model).items()}
        mask = masks.magnitude(weights, sparsity)
        masks.apply(model, mask)
        accuracies.append(experiment.read(trainer))
        fresh.append(experiment.read_fresh(trainer))
        measured.append(1.0 - masks.density(mask))
        densities.append(list(masks.layer_densities(mask).values()))
        if sparsity in kept:
            cuts[sparsity] = mask
    x.copy_(whole)
    read, fresh_read = torch.stack([torch.stack(accuracies), torch.stack(fresh)]).tolist()
    lists = {"measured_sparsity": measured, "accuracy": read, "fresh_accuracy": fresh_read}
    return lists, np.array(densities), cuts
