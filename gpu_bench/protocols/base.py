"""Protocol: when a run trains, when it prunes, what its rows hold."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

import numpy as np
from torch import Tensor

from gpu_bench import cycles, exports
from gpu_bench.checkpoints import Checkpoints
from gpu_bench.experiment import Experiment, Place
from gpu_bench.ranks import Ranks
from gpu_bench.train import Epoch, Trainer
from mirrorflow.certificate import columns
from mirrorflow.checks import Array
from mirrorflow.runs.store import Row, Run

__all__ = ["Protocol", "Reading"]


class Reading(NamedTuple):
    """What a protocol reads of a trained network.

    Attributes
    ----------
    row : dict
        Numbers of the run, and its lists.
    layer_density : Array, shape (length of the lists, layers)
    mask_sets : dict
        Masks that are kept on disk, by sparsity.
    """

    row: Row
    layer_density: Array
    mask_sets: dict[float, dict[str, Tensor]]


class Protocol(ABC):
    """When a run trains, when it prunes, what its rows hold.

    Attributes
    ----------
    columns : mapping
        Lists of a run's row whose entries become rows of their own, and what these are called.
    """

    columns: ClassVar[Mapping[str, str]]

    @abstractmethod
    def plan(self, experiment: Experiment) -> cycles.CyclePlan:
        """Return the cycles of an experiment."""

    @abstractmethod
    def read(self, experiment: Experiment, outcome: cycles.Outcome) -> Reading:
        """Return what is read at the end."""

    def compute(
        self, run: Run, place: Place, ranks: Ranks, tell: Callable[[Epoch], None] | None = None
    ) -> tuple[Row, dict[str, Array]]:
        """Train one configuration and read it.

        Returns
        -------
        row : dict
            Scalars of the run, and the lists of `columns`; those of a diverged run have NaN.
        arrays : dict
            One entry per epoch: `loss`, `accuracy` (running), `test_accuracy`, `norm` (‖x‖₁),
            `alpha`, `total` (A), `images_per_second`; and `layer_density`, one line per entry of
            the lists. With the ledger `layer_total`: ¼ log(a₀/a) of each layer in the last cycle.

        Raises
        ------
        InputError
            If the data are missing, the batch does not fit or a mask file is of another model.
        """
        started, spec = time.perf_counter(), run.spec
        experiment = Experiment(spec, place, ranks)
        checkpoints = Checkpoints(place.out / "checkpoints", run.key)
        outcome = cycles.run(experiment, self.plan(experiment), checkpoints, tell)
        reading = self.read(experiment, outcome)
        trainer, epochs, start = outcome.trainer, outcome.epochs, exports.stem(run)
        x = trainer.x.values
        row: Row = {
            "status": outcome.status,
            "message": outcome.message,
            **reading.row,
            "epochs_done": epochs[-1].number,
            "rate_sum": trainer.plan.rate_sum,
            "natural_sparsity": float((x[outcome.masks[-1]] == 0).double().mean()),
            "prunable_weights": x.numel(),
            "images_per_second": float(np.median([e.images_per_second for e in epochs])),
            # the controller's readings and the temperature, as the method names them
            **{f"method_{name}": value for name, value in trainer.method.readings().items()},
            **_ledger(trainer),
            **experiment.machine(),
            "files": start,
            "wall_seconds": time.perf_counter() - started,
        }
        if ranks.first:
            path = place.out / "weights" / start
            exports.export(path, spec, row, experiment.model, experiment.shape, reading.mask_sets)
        arrays = {**outcome.curves(), "layer_density": reading.layer_density}
        if trainer.ledger is not None:
            arrays["layer_total"] = np.array([share.total for share in trainer.ledger.shares()])
        return row, arrays


def _ledger(trainer: Trainer) -> Row:
    """Return the verdict on m² − w², and A of decay and of gradients, the median over layers."""
    if trainer.ledger is None:
        return {}
    shares = trainer.ledger.shares()
    return {
        **columns([("balance_ledger", trainer.ledger.certificate())]),
        "ledger_decay": shares[0].decay,
        "ledger_gradient": float(np.median([share.gradient for share in shares])),
    }
