"""Algorithm 1: how the penalty's strength α follows accuracy and ‖m ⊙ w‖₁."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from mirrorflow.checks import InputError, number, whole

__all__ = ["Controller"]


class Controller:
    """α for the next epoch, by PILoT's Algorithm 1.

    After epoch k = 1 … T:

        if  accuracy_k ≥ reference  and  ‖m ⊙ w‖₁ ≥ K  and  k ≤ T/2   then  α ← δα
        else                                                          α ← α/δ

    where the reference is the previous epoch's accuracy; the first epoch, which has none, counts as
    an improvement. All three conditions must hold to
    raise α; otherwise it falls, so past T/2 it always falls. The rule is multiplicative:
    α = 0 stays 0, δ = 1 keeps α constant, K = ∞ only lowers, K = 0 never stops the raising.
    In data-parallel training every rank must give the same accuracy (reduce it first).

    α is an ordinary float on the host. `step` reads its two measurements, and if they are
    device tensors that reading waits for the device, once per epoch; `apply` never does.

    Parameters
    ----------
    alpha : float
        α during the first epoch, ≥ 0.
    threshold : float
        K ≥ 0, on ‖m ⊙ w‖₁ over all reparametrized weights (`l1_norm`); absolute, ∞ allowed.
    epochs : int
        T ≥ 1.
    delta : float
        δ ≥ 1.

    Raises
    ------
    InputError
        If an option is outside its range.

    Examples
    --------
    >>> controller = Controller(alpha=1e-4, threshold=8000.0, epochs=150, delta=2.0)
    >>> controller.step(accuracy=0.4, l1_norm=9000.0)
    0.0002
    """

    def __init__(self, alpha: float, threshold: float, epochs: int, delta: float = 1.01) -> None:
        self._alpha = number("alpha", alpha, 0.0)
        self.threshold = number("threshold", threshold, 0.0, infinite=True)
        self.epochs = whole("epochs", epochs, 1)
        self.delta = number("delta", delta, 1.0)
        self._epoch = 0
        self._accuracy: float | None = None

    @property
    def alpha(self) -> float:
        """α in force now: the initial one, or what the last `step` returned."""
        return self._alpha

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return self._epoch

    def step(self, accuracy: float | Tensor, l1_norm: float | Tensor) -> float:
        """Take the finished epoch's measurements and return α for the next one.

        Parameters
        ----------
        accuracy : float or 0-d Tensor
            Training accuracy (the paper's runs over the epoch), as a fraction or in percent:
            only its order matters.
        l1_norm : float or 0-d Tensor
            ‖m ⊙ w‖₁ at the end of the epoch, ≥ 0.

        Raises
        ------
        InputError
            If a measurement is not a finite number, or all T epochs are over; α is unchanged.
        """
        accuracy = _reading("accuracy", accuracy)
        l1_norm = _reading("l1_norm", l1_norm, 0.0)
        if self._epoch >= self.epochs:
            raise InputError(
                f"step must be called at most epochs = {self.epochs} times, but it was called "
                f"once more."
            )
        k = self._epoch + 1
        improved = self._accuracy is None or accuracy >= self._accuracy
        if improved and l1_norm >= self.threshold and 2 * k <= self.epochs:
            self._alpha = min(self._alpha * self.delta, sys.float_info.max)
        else:
            self._alpha /= self.delta
        self._accuracy = accuracy
        self._epoch = k
        return self._alpha

    def apply(self, optimizer: Optimizer) -> None:
        """Set `weight_decay` = 2α in the groups named "factors" (see `parameter_groups`).

        A Python float is assigned: nothing runs on the device. A captured CUDA graph keeps the
        value it was captured with.

        Raises
        ------
        InputError
            If the optimizer has no such group.
        """
        groups = [group for group in optimizer.param_groups if group.get("name") == "factors"]
        if not groups:
            raise InputError(
                'optimizer must have a parameter group named "factors", but it has none; make it '
                "with parameter_groups."
            )
        for group in groups:
            group["weight_decay"] = 2.0 * self._alpha

    def state_dict(self) -> dict[str, float | int | None]:
        """Return epoch, α and the last accuracy (None before the first step)."""
        return {"epoch": self._epoch, "alpha": self._alpha, "accuracy": self._accuracy}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state_dict` of a controller with the same options.

        Raises
        ------
        InputError
            If an entry is missing, unknown or out of range; the controller is unchanged.
        """
        entries = {"epoch", "alpha", "accuracy"}
        if not isinstance(state, Mapping) or set(state) != entries:
            given = sorted(map(str, state)) if isinstance(state, Mapping) else state
            raise InputError(f"state must hold {sorted(entries)}, but it is {given!r}.")
        epoch = whole("state['epoch']", state["epoch"], 0, self.epochs)
        alpha = number("state['alpha']", state["alpha"], 0.0)
        accuracy = state["accuracy"]
        if (accuracy is None) != (epoch == 0):
            raise InputError(
                f"state['accuracy'] must be None exactly at epoch 0, but it is {accuracy!r} at "
                f"epoch {epoch}."
            )
        if accuracy is not None:
            accuracy = number("state['accuracy']", accuracy)
        self._epoch, self._alpha, self._accuracy = epoch, alpha, accuracy

    def __repr__(self) -> str:
        return (
            f"Controller(alpha={self._alpha:g}, epoch={self._epoch}/{self.epochs}, "
            f"threshold={self.threshold:g}, delta={self.delta:g})"
        )


def _reading(name: str, value: float | Tensor, low: float = -math.inf) -> float:
    """Return a measurement as a float; this waits for the device if it is there."""
    if isinstance(value, Tensor) and value.numel() != 1:
        raise InputError(f"{name} must be one number, but its shape is {tuple(value.shape)}.")
    return number(name, value, low)
