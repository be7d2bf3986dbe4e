"""Cyclic training (Gadhikar, Nelaturu & Burkholz 2024): one sparse mask, trained several times.

The mask is found at initialisation and never changes. Each cycle goes on with the weights of the
one before, with a fresh optimizer and a full learning-rate schedule.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from torch import Tensor, nn

from gpu_bench import initial_masks, masks
from gpu_bench.cycles import CyclePlan
from gpu_bench.experiment import Experiment
from gpu_bench.protocols.per_cycle import PerCycle

__all__ = ["PROTOCOL", "Cyclic", "first_mask"]

SNIP_BATCHES = 8  # of the run's batch size; more change the mask little
Masks = Mapping[str, Tensor]


class Cyclic(PerCycle):
    """One mask at initialisation, trained several times."""

    def plan(self, experiment: Experiment) -> CyclePlan:
        spec = experiment.spec

        def mask(cycle: int, model: nn.Module, kept: Masks | None) -> Masks | None:
            return first_mask(experiment) if kept is None else None

        return CyclePlan(spec["cycles"], mask, None, spec["carry"], spec["target_sparsity"] or 0.0)


PROTOCOL = Cyclic()


def first_mask(experiment: Experiment) -> dict[str, Tensor]:
    """Return the mask at initialisation: from its file, or made for the start sparsity.

    Raises
    ------
    InputError
        If the file is damaged or fits another model.
    """
    spec, model = experiment.spec, experiment.model
    if spec["mask"] == "file":
        assert experiment.place.mask_file is not None
        return masks.load(experiment.place.mask_file, model)
    return initial_masks.initial_mask(
        spec["mask"],
        model,
        spec["start_sparsity"],
        spec["seed"],
        # a training epoch that is never trained on: the first is number 1
        batches=itertools.islice(experiment.batches.epoch(0), SNIP_BATCHES),
        shape=experiment.shape,
    )
