"""SCULPT-ing (Gadhikar, Nelaturu & Burkholz 2024): cyclic training, one cut, one more cycle.

A mask at initialisation is trained for several cycles, then the globally smallest |x| of what it
kept are cut in one step to the target, and one more cycle follows.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from gpu_bench import masks
from gpu_bench.cycles import CyclePlan
from gpu_bench.experiment import Experiment
from gpu_bench.protocols.cyclic import first_mask
from gpu_bench.protocols.iterative import pruned_masks
from gpu_bench.protocols.per_cycle import PerCycle
from mirrorflow.checks import InputError

__all__ = ["PROTOCOL", "Sculpt"]

Masks = Mapping[str, Tensor]


class Sculpt(PerCycle):
    """Cyclic training, one cut to the target, one more cycle."""

    def plan(self, experiment: Experiment) -> CyclePlan:
        spec = experiment.spec
        target, last = spec["target_sparsity"], spec["cycles"] - 1

        def mask(cycle: int, model: nn.Module, kept: Masks | None) -> Masks | None:
            if kept is None:
                first = first_mask(experiment)
                zeros, size = 1.0 - masks.density(first), sum(experiment.layout.sizes)
                if zeros > target + 1.0 / size:  # both are rounded to whole weights
                    raise InputError(
                        f"--sparsities must be at least the sparsity of --mask-file, "
                        f"{zeros:.4f}, but one is {target}."
                    )
                return first
            return pruned_masks(model, kept, target) if cycle == last else None

        return CyclePlan(spec["cycles"], mask, None, spec["carry"], target)


PROTOCOL = Sculpt()
