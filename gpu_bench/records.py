"""Records of a training: an epoch, the history of a run, the weights it may start from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["Epoch", "History", "Weights"]


@dataclass(frozen=True, slots=True)
class Epoch:
    """Measurements of one epoch, all on the host.

    Attributes
    ----------
    loss, accuracy
        Over the training images as they went by, while the weights moved.
    test_accuracy
        After the epoch, on the held-out images; NaN where it was not read.
    norm
        ‖x‖₁ over the prunable weights, after the epoch.
    alpha
        α in force during the epoch; 0 without such a penalty.
    total
        A = Σ η_k α_k/(1 − momentum) so far.
    """

    number: int
    loss: float
    accuracy: float
    test_accuracy: float
    norm: float
    alpha: float
    total: float
    images_per_second: float


@dataclass(slots=True)
class History:
    """The epochs of a run and how it ended: "completed" or "diverged"."""

    status: str = "completed"
    message: str = ""
    epochs: list[Epoch] = field(default_factory=list)

    def add(self, record: Epoch) -> bool:
        """Add an epoch; returns whether its loss and norm are finite."""
        self.epochs.append(record)
        finite = math.isfinite(record.loss) and math.isfinite(record.norm)
        if not finite:
            self.status = "diverged"
            self.message = (
                f"the loss is {record.loss} and ‖x‖₁ is {record.norm} in epoch "
                f"{record.number}; lower --lr or the method's total."
            )
        return finite


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """Copy of all that a training has learned, from which another may start.

    Attributes
    ----------
    x : Tensor, shape (N,)
        The prunable weights.
    parameters : tuple of Tensor
        θ, the method's.
    rest : Tensor
        Biases and normalisation.
    buffers : tuple of Tensor
        The model's: statistics of batch norm.
    total : float
        A spent so far.
    """

    x: Tensor
    parameters: tuple[Tensor, ...]
    rest: Tensor
    buffers: tuple[Tensor, ...]
    total: float
