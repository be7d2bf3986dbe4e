"""The initialisations of `mirrorflow.maps.product` for torch tensors of any shape."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mirrorflow.checks import InputError, number

__all__ = ["balanced_factors", "pilot_factors"]

DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def pilot_factors(x: Tensor, beta: float = 1.0) -> tuple[Tensor, Tensor]:
    """PILoT's initialisation: m ⊙ w = x and m² − w² = β > 0 (Algorithm 1).

    m = √((β + √(β² + 4x²))/2), w = x/m, computed in float32 or wider and without overflow
    for every finite x. w divides by m as it is stored, and m moves by up to three steps in its
    last places where that lets m ⊙ w round to x itself: for |x| ≪ β, the weights of a network,
    all but a few in 10⁵ are met bit by bit, the others to one rounding or two.

    Parameters
    ----------
    x : Tensor
        Any shape; float16, bfloat16, float32 or float64.
    beta : float
        The imbalance β > 0, within the range of x's dtype.

    Returns
    -------
    m, w : Tensor
        Shape, dtype and device of x, detached.

    Raises
    ------
    InputError
        If β is not positive or too small or large for the dtype, or x is not finite.

    Examples
    --------
    >>> pilot_factors(torch.tensor([0.0, 2.0]), beta=3.0)
    (tensor([1.7321, 2.0000]), tensor([0., 1.]))
    """
    check_tensor("x", x)
    beta = check_beta(beta, x.dtype)
    with torch.no_grad():
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        # m² / 4 instead of m²: a power of two costs no rounding and keeps max |x| finite.
        eighth = wide.new_full((), 0.125 * beta)
        m = (2.0 * torch.sqrt(eighth + torch.hypot(eighth, 0.25 * wide))).to(x.dtype)
        w = (wide / m.to(wide.dtype)).to(x.dtype)
        for _ in range(3):
            above = (m.to(wide.dtype) * (1.0 + torch.finfo(x.dtype).eps)).to(x.dtype)
            m = torch.where(m * w == x, m, above)
            w = (wide / m.to(wide.dtype)).to(x.dtype)
        return m, w


def balanced_factors(x: Tensor) -> tuple[Tensor, Tensor]:
    """The balanced ("spred") initialisation: m = √|x|, w = sign(x) m.

    |m| = |w| holds exactly, in low precision too, because it is what fixes the sign of x
    forever; the price is that m ⊙ w meets x to two roundings instead of one. Where x = 0,
    m = w = 0 and no gradient moves them again.

    Parameters
    ----------
    x : Tensor
        Any shape; float16, bfloat16, float32 or float64.

    Returns
    -------
    m, w : Tensor
        Shape, dtype and device of x, detached.

    Raises
    ------
    InputError
        If x is not finite.

    Examples
    --------
    >>> balanced_factors(torch.tensor([4.0, -1.0]))
    (tensor([2., 1.]), tensor([ 2., -1.]))
    """
    check_tensor("x", x)
    with torch.no_grad():
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        store = torch.finfo(x.dtype)
        # The largest m whose square is finite; rounding √(max |x|) up would pass it.
        largest = (1.0 - 0.5 * store.eps) * 2.0 ** round(0.5 * math.log2(store.max))
        m = wide.abs().sqrt().to(x.dtype).clamp(max=largest)
        return m, torch.copysign(m, x)


def check_tensor(name: str, x: Tensor) -> None:
    """Raise unless `x` is a finite tensor that m and w can be computed from."""
    if not isinstance(x, Tensor) or x.dtype not in DTYPES:
        given = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise InputError(
            f"{name} must be a float16, bfloat16, float32 or float64 tensor, but it is {given}."
        )
    if x.is_meta or x.layout != torch.strided:
        raise InputError(
            f"{name} must be a dense tensor with values, but it is {x.layout} on {x.device}."
        )
    finite = torch.isfinite(x.detach())
    if not finite.all():
        where = tuple(torch.nonzero(~finite)[0].tolist())
        raise InputError(f"{name} must be finite, but {name}{list(where)} is {x[where].item()}.")


def check_beta(beta: float, dtype: torch.dtype) -> float:
    """Return β as a float for which m and w are representable, whatever the finite x."""
    beta = number("beta", beta, 0.0, open_low=True)
    store, work = torch.finfo(dtype), torch.finfo(torch.promote_types(dtype, torch.float32))
    low = max(8.0 * work.tiny, store.tiny * store.tiny)
    high = min(0.125 * work.max, 0.5 * store.max * store.max)
    if not low <= beta <= high:
        raise InputError(
            f"beta must be at least {low:.3g} and at most {high:.3g} for {dtype} weights, "
            f"but it is {beta!r}."
        )
    return beta
