"""Ledger of m² − w² under SGD: what a training may do to it, and what of that is decay."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mirrorflow.certificate import Certificate
from mirrorflow.checks import InputError, number

__all__ = ["BalanceLedger", "Share"]

Gradients = Sequence[tuple[Tensor, Tensor]]


class Share(NamedTuple):
    """Parts of what one weight tensor's a = ½|m² − w²| has lost, in units of A (no unit).

    Attributes
    ----------
    name : str
    total : float
        ¼ log(a₀/a_K), the median over the entries.
    decay : float
        −½ log|c_K|, what decay without any gradient would have taken (`free_decay`).
    gradient : float
        total − decay: step size and gradient noise.
    """

    name: str
    total: float
    decay: float
    gradient: float


class BalanceLedger:
    """m² − w² of any network under SGD with momentum and decay, exactly, step by step.

    Whatever the loss, m ∂m = w ∂w, since both are x ∂x. So P = m² − w² follows from P₀, η, α, μ
    and the buffers b ← μb + ∂ + 2α(m, w) alone, without the weights:

        C = μX + 4αP,   D = b_m² − b_w²,   P ← P − ηC + η²D,   X ← C − 2ηD        (X₀ = 0)

        Nesterov, which steps by s = ∂ + 2α(m, w) + μb:  D = b_m s_m − b_w s_w,
        P ← P − η(4αP + μC) + η²(s_m² − s_w²)

    It holds under minibatches, schedules of η and α, masks on x or on both gradients, batch
    norm, loss scaling (with gradients unscaled before) and clipping of the whole gradient. It
    fails, and so detects: decay on one factor, different rates or clipping of m and w, Adam,
    a weight used outside its product. Something that sets m or w in place, or an optimizer whose
    buffers start anew, needs `restart` or another ledger.

    Parameters
    ----------
    factors : iterable of (name, m, w)
        `named_factors(module)`, or any pairs of tensors that training changes in place.
    momentum : float in [0, 1)
        μ of `torch.optim.SGD`, without dampening.
    nesterov : bool

    Raises
    ------
    InputError
        If there are no factors, m and w differ in shape or dtype, or μ is out of range.

    Examples
    --------
    >>> m, w = torch.tensor([1.5]).requires_grad_(), torch.tensor([0.5]).requires_grad_()
    >>> optimizer = torch.optim.SGD([m, w], lr=0.1, momentum=0.9, weight_decay=2 * 0.01)
    >>> ledger = BalanceLedger([("x", m, w)], momentum=0.9)
    >>> for target in (1.0, 2.0, 3.0):
    ...     optimizer.zero_grad()
    ...     ((m * w - target) ** 2).sum().backward()
    ...     ledger.before_step(0.1, 0.01)
    ...     optimizer.step()
    >>> ledger.certificate().verdict
    'confirmed'
    """

    def __init__(
        self,
        factors: Iterable[tuple[str, Tensor, Tensor]],
        momentum: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        self.momentum = number("momentum", momentum, 0.0, math.nextafter(1.0, 0.0))
        self.nesterov = nesterov
        self._weights = [_Weight(name, m, w) for name, m, w in factors]
        if not self._weights:
            raise InputError("factors must hold at least one (name, m, w), but it is empty.")
        self._device = self._weights[0].m.device
        zero = torch.zeros((), dtype=torch.float64, device=self._device)
        # on the device, so that a captured step counts when it is replayed
        self._steps, self._free, self._buffer = zero, zero + 1.0, zero.clone()
        self._value, self._length = zero.clone(), zero + 1.0  # the worst part up to a restart

    @torch.no_grad()
    def before_step(
        self,
        step_size: float | Tensor,
        alpha: float | Tensor,
        gradients: Gradients | None = None,
    ) -> None:
        """Enter the step that the optimizer takes next; nothing waits for the device.

        Call it after `backward` (and clipping), before `optimizer.step()`.

        Parameters
        ----------
        step_size, alpha : float or 0-d Tensor
            η and α ≥ 0 of this step: the group's `lr` and half its `weight_decay`.
        gradients : sequence of (∂m, ∂w), optional
            Of the loss without decay, in the order of `factors`; by default m.grad and w.grad.

        Raises
        ------
        InputError
            If η or α is no number ≥ 0, or a weight has no gradient.
        """
        eta, strength = self._scalar("step_size", step_size), self._scalar("alpha", alpha)
        pairs = [weight.gradients() for weight in self._weights] if gradients is None else gradients
        for weight, pair in zip(self._weights, pairs, strict=True):
            weight.compare()
            weight.advance(pair, eta, strength, self.momentum, self.nesterov)
        self._buffer.mul_(self.momentum).add_(2.0 * strength * self._free)
        step = self._buffer
        if self.nesterov:
            step = self.momentum * step + 2.0 * strength * self._free
        self._free.sub_(eta * step)
        self._steps.add_(1.0)

    @torch.no_grad()
    def restart(self) -> None:
        """Go on from the weights as they are, at the end of an epoch, say.

        float32 weights round m² − w² in every step, so a bound for few steps is a sharp one.
        """
        for kept, new in zip((self._value, self._length), self._worst(), strict=True):
            kept.copy_(new)
        self.resume()

    @torch.no_grad()
    def certificate(self) -> Certificate:
        """Compare m² − w² with the ledger, at every step so far.

        Value: the largest |m² − w² − P| relative to the largest m² + w², by entry and since the
        last `restart`; of the restarts' parts, the one nearest to its bound. Bound:
        4 eps · steps · (1 + 1/(1 − μ)), eps of the stored weights, what their rounding explains.
        """
        unit = 4.0 * max(torch.finfo(weight.m.dtype).eps for weight in self._weights)
        unit *= 1.0 + 1.0 / (1.0 - self.momentum)
        value, steps = torch.stack(self._worst()).tolist()
        return Certificate.of("balance_ledger", value, unit * steps)

    @torch.no_grad()
    def shares(self) -> list[Share]:
        """Return what of each tensor's lost scale is decay; nan where m² = w² from the start."""
        decay = float(-0.5 * self._free.abs().log())
        shares = []
        for weight in self._weights:
            total = float(weight.lost().nanmedian())
            shares.append(Share(weight.name, total, decay, total - decay))
        return shares

    def tensors(self) -> dict[str, Tensor]:
        """Return what a checkpoint keeps, taken after a `restart`; put back in place, `resume`."""
        names = ("_free", "_buffer", "_value", "_length")
        kept = {f"ledger{name}": getattr(self, name) for name in names}
        for i, weight in enumerate(self._weights):
            kept |= {f"ledger_{key}_{i}": getattr(weight, key) for key in ("b_m", "b_w", "first")}
        return kept

    @torch.no_grad()
    def resume(self) -> None:
        """Go on from m, w and the `tensors` as they are, whatever came before."""
        self._steps.zero_()
        for weight in self._weights:
            weight.restart()

    def _worst(self) -> tuple[Tensor, Tensor]:
        """Value and steps of the part that is nearest to its bound; nan wins."""
        for weight in self._weights:
            weight.compare()
        values = [weight.value().to(self._device) for weight in self._weights]
        value, steps = torch.stack(values).max(), self._steps.clamp(min=1.0)
        before = self._value.isnan() | (value / steps <= self._value / self._length)
        value = torch.where(before, self._value, value)
        return value, torch.where(before, self._length, steps)

    def _scalar(self, name: str, value: float | Tensor) -> Tensor:
        if isinstance(value, Tensor):
            return value.to(torch.float64)
        return torch.tensor(number(name, value, 0.0), dtype=torch.float64, device=self._device)


class _Weight:
    """One tensor's m and w, the buffers of its SGD, and P, X, largest error and size so far."""

    def __init__(self, name: str, m: Tensor, w: Tensor) -> None:
        if m.shape != w.shape or m.dtype != w.dtype or not m.is_floating_point():
            raise InputError(
                f"factors must pair m and w of one shape and floating dtype, but {name} has "
                f"{tuple(m.shape)} {m.dtype} and {tuple(w.shape)} {w.dtype}."
            )
        self.name, self.m, self.w = name, m, w
        dtype = torch.promote_types(m.dtype, torch.float32)
        self.b_m, self.b_w, self.error, self.size = (
            torch.zeros_like(m, dtype=dtype, requires_grad=False) for _ in range(4)
        )
        with torch.no_grad():
            self.P, self.X = (
                self.balance().double(),
                torch.zeros_like(self.b_m, dtype=torch.float64),
            )
            self.first = self.balance()

    def gradients(self) -> tuple[Tensor, Tensor]:
        if self.m.grad is None or self.w.grad is None:
            raise InputError(
                f"before_step must come after backward, but a factor of {self.name} has no "
                f"gradient."
            )
        return self.m.grad, self.w.grad

    def balance(self) -> Tensor:
        """m² − w², to a rounding or two of itself."""
        m, w = self.m.to(self.b_m.dtype), self.w.to(self.b_m.dtype)
        return (m - w).mul_(m + w)

    def compare(self) -> None:
        m, w = self.m.to(self.b_m.dtype), self.w.to(self.b_m.dtype)
        torch.maximum(self.size, (m * m).addcmul_(w, w), out=self.size)
        error = (self.P - self.balance()).abs_().to(self.error.dtype)
        torch.maximum(self.error, error, out=self.error)

    def advance(
        self,
        pair: tuple[Tensor, Tensor],
        eta: Tensor,
        alpha: Tensor,
        momentum: float,
        nesterov: bool,
    ) -> None:
        dtype, decay = self.b_m.dtype, 2.0 * alpha
        u_m, u_w = (
            torch.addcmul(gradient.to(dtype), theta.to(dtype), decay.to(dtype))
            for gradient, theta in zip(pair, (self.m, self.w), strict=True)
        )
        self.b_m.mul_(momentum).add_(u_m)
        self.b_w.mul_(momentum).add_(u_w)
        self.X.mul_(momentum).addcmul_(self.P, 2.0 * decay)  # now C
        if nesterov:
            s_m, s_w = u_m.add_(self.b_m, alpha=momentum), u_w.add_(self.b_w, alpha=momentum)
            source = (self.b_m * s_m).addcmul_(self.b_w, s_w, value=-1.0)
            squares = (s_m - s_w).mul_(s_m + s_w)
            self.P.mul_(1.0 - 2.0 * eta * decay).addcmul_(self.X, -momentum * eta)
        else:
            source = squares = (self.b_m - self.b_w).mul_(self.b_m + self.b_w)
            self.P.addcmul_(self.X, -eta)
        self.P.addcmul_(squares, eta * eta)
        self.X.addcmul_(source, -2.0 * eta)

    def restart(self) -> None:
        self.P.copy_(self.balance())
        m, w = self.m.double(), self.w.double()
        self.X.copy_(2.0 * (m * self.b_m - w * self.b_w))
        self.error.zero_()
        self.size.zero_()

    def value(self) -> Tensor:
        """The largest error relative to the largest m² + w², by entry; 0 of no entries."""
        if not self.error.numel():
            return torch.zeros((), dtype=torch.float64)
        # below it squares underflow: what they round away is eps of the least normal number
        least = torch.finfo(self.b_m.dtype).tiny
        return (self.error.double() / self.size.double().clamp(min=least)).max()

    def lost(self) -> Tensor:
        """¼ log(a₀/a) of each entry; nan where a₀ = 0."""
        start = self.first.double().abs()
        lost = 0.25 * (start.log() - self.balance().double().abs().log())
        return lost.masked_fill_(start == 0.0, math.nan)
