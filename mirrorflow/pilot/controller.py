"""Algorithm 1: how the penalty's strength α follows accuracy and ‖m ⊙ w‖₁."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor
from torch.optim import Optimizer

from mirrorflow.checks import InputError, number, whole

__all__ = ["Controller"]


class Controller:
    """α for the next epoch, by PILoT's Algorithm 1.

    After epoch k = 1 … T:

        if  accuracy_k ≥ reference  and  ‖m ⊙ w‖₁ ≥ K  and  k ≤ T/2   then  α ← δα
        else                                                          α ← α/δ

    where the reference is the previous epoch's accuracy. All three conditions must hold to
    raise α; otherwise it falls, so past T/2 it always falls. The rule is multiplicative:
    α = 0 stays 0, δ = 1 keeps α constant, K = ∞ only lowers, K = 0 never stops the raising.
    In data-parallel training every rank must give the same accuracy (reduce it first).

    α is an ordinary float on the host. `step` reads its two measurements, and if they are
    device tensors that reading waits for the device, once per epoch; changing α and handing it
    on (`apply`, `fill`) never does.

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
    reference : {"previous", "best"}
        Compare with the previous epoch's accuracy or the best of all earlier epochs.
    strict : bool
        Compare with > instead of ≥.
    first : bool
        Whether the first epoch, which has nothing to be compared with, counts as an
        improvement. The other two conditions hold for it as for any epoch.
    raise_until : float
        α may rise while k ≤ raise_until · T; in [0, 1].

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

    def __init__(
        self,
        alpha: float,
        threshold: float,
        epochs: int,
        delta: float = 1.01,
        *,
        reference: Literal["previous", "best"] = "previous",
        strict: bool = False,
        first: bool = True,
        raise_until: float = 0.5,
    ) -> None:
        self._alpha = number("alpha", alpha, 0.0)
        self.threshold = number("threshold", threshold, 0.0, infinite=True)
        self.epochs = whole("epochs", epochs, 1)
        self.delta = number("delta", delta, 1.0)
        if reference not in ("previous", "best"):
            raise InputError(f'reference must be "previous" or "best", but it is {reference!r}.')
        self.reference = reference
        self.strict = bool(strict)
        self.first = bool(first)
        self.raise_until = number("raise_until", raise_until, 0.0, 1.0)
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
        if self._accuracy is None:
            improved = self.first
        elif self.strict:
            improved = accuracy > self._accuracy
        else:
            improved = accuracy >= self._accuracy
        # The tolerance keeps a fraction such as 0.29 of 100 epochs from losing the 29th.
        early = k <= self.raise_until * self.epochs + 1e-9
        if improved and l1_norm >= self.threshold and early:
            self._alpha = min(self._alpha * self.delta, sys.float_info.max)
        else:
            self._alpha /= self.delta
        if self.reference == "best" and self._accuracy is not None:
            accuracy = max(accuracy, self._accuracy)
        self._accuracy = accuracy
        self._epoch = k
        return self._alpha

    def apply(self, optimizer: Optimizer) -> None:
        """Set `weight_decay` = 2α in the groups named "factors" (see `parameter_groups`).

        A Python float is assigned: nothing runs on the device. A captured CUDA graph keeps the
        value it was captured with; use `fill` there.

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

    def fill(self, tensor: Tensor) -> None:
        """Write α into a 0-d tensor in place: one asynchronous kernel, no waiting.

        With `add_penalty_gradient(module, tensor)` in a captured CUDA graph the replays follow
        α without a new capture.

        Raises
        ------
        InputError
            If `tensor` is not a 0-d floating tensor.
        """
        if not isinstance(tensor, Tensor) or tensor.ndim or not tensor.is_floating_point():
            raise InputError(f"tensor must be a 0-d floating tensor, but it is {tensor!r}.")
        tensor.detach().fill_(self._alpha)

    def state_dict(self) -> dict[str, float | int | None]:
        """Return epoch, α and the reference accuracy (None before the first step)."""
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
