"""Iterative magnitude pruning (Frankle & Carbin 2019; Renda et al. 2020): IMP, WR and LRR.

Cycle c = 1 … C trains with ⌊keep^(c−1)·N + ½⌋ weights. Between two cycles the globally smallest
|x| are cut; what was cut stays cut. IMP then goes back to the initial weights, weight rewinding
(WR) to those after the rewind epoch of the first cycle, biases, normalisation and its statistics
with them; learning-rate rewinding (LRR) goes on with the weights as they are.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from gpu_bench import masks
from gpu_bench.cycles import CyclePlan
from gpu_bench.experiment import Experiment
from gpu_bench.protocols.per_cycle import PerCycle

__all__ = ["PROTOCOL", "Iterative", "pruned_masks"]

Masks = Mapping[str, Tensor]
ABOVE_ZERO = 1e-30  # added to |x| of what is left: a weight that is 0 must not change places


class Iterative(PerCycle):
    """Train, keep the largest weights, train again."""

    def plan(self, experiment: Experiment) -> CyclePlan:
        spec = experiment.spec
        keep, count = spec["keep"], spec["cycles"]

        def mask(cycle: int, model: nn.Module, kept: Masks | None) -> Masks | None:
            return None if kept is None else pruned_masks(model, kept, 1.0 - keep**cycle)

        return CyclePlan(
            count,
            mask,
            spec["rewind_epoch"],
            spec["carry"],
            last_sparsity=1.0 - keep ** (count - 1),
        )


PROTOCOL = Iterative()


def pruned_masks(model: nn.Module, kept: Masks, sparsity: float) -> dict[str, Tensor]:
    """Return masks of the globally largest weights among those that are kept so far."""
    weights = masks.prunable(model)
    sizes = {k: (weights[k].detach().abs() + ABOVE_ZERO) * mask for k, mask in kept.items()}
    return masks.magnitude(sizes, sparsity)
