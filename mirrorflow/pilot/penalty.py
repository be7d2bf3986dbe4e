"""The penalty α(‖m‖² + ‖w‖²) as weight decay, and the norm ‖m ⊙ w‖₁ that steers α."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mirrorflow.checks import InputError, number
from mirrorflow.pilot.parametrization import named_factors
from mirrorflow.pilot.selection import reparametrized

__all__ = ["l1_norm", "parameter_groups"]


def parameter_groups(module: nn.Module, weight_decay: float, alpha: float) -> list[dict[str, Any]]:
    """Return the parameter groups "factors" (m, w; decay 2α) and "rest", for any torch optimizer.

    The gradient of α(‖m‖² + ‖w‖²) is 2α(m, w), so `weight_decay` = 2α on m and w and no other
    decay there. The rest (biases, normalisation, what was not selected) keeps the ordinary
    decay.

    With SGD this is the penalty, and e^{−4A} holds. AdamW multiplies m and w by 1 − 2ηα in every
    step and scales the gradient alone, by about 1/|∇|: without a gradient a weight shrinks by the
    same e^{−4Σηα} (no 1/(1 − momentum)), but any steady gradient, however small, moves m by η a
    step and holds it at 1/(2α): an α that suits SGD is far too small. Adam divides the decay by
    the gradient's size too: where there is no gradient, m and w fall by η a step, whatever α > 0
    is. So tune α for each anew.

    Parameters
    ----------
    module : nn.Module
        Reparametrized.
    weight_decay : float
        The ordinary decay, ≥ 0.
    alpha : float
        α ≥ 0; later changed with `Controller.apply`.

    Returns
    -------
    list of dict

    Raises
    ------
    InputError
        If a decay is negative or not finite, or nothing is reparametrized.

    Examples
    --------
    >>> from mirrorflow.pilot import reparametrize
    >>> groups = parameter_groups(reparametrize(nn.Linear(3, 2)), 1e-4, alpha=0.01)
    >>> [(group["name"], group["weight_decay"]) for group in groups]
    [('factors', 0.02), ('rest', 0.0001)]
    """
    weight_decay = number("weight_decay", weight_decay, 0.0)
    alpha = number("alpha", alpha, 0.0)
    factors = _factors(module)
    taken = {id(parameter) for parameter in factors}
    rest = [parameter for parameter in module.parameters() if id(parameter) not in taken]
    return [
        {"name": "factors", "params": factors, "weight_decay": 2.0 * alpha},
        {"name": "rest", "params": rest, "weight_decay": weight_decay},
    ]


def l1_norm(module: nn.Module) -> Tensor:
    """Return ‖m ⊙ w‖₁ over all reparametrized weights: a 0-d tensor, without synchronisation.

    Summed in float32 or wider, since half precision would overflow; detached, on the device of
    the first weight; tied weights count once. Where a mask or the like is stacked on m ⊙ w, what
    it lets through counts: the norm is that of `fold(module)`.

    Parameters
    ----------
    module : nn.Module
        Reparametrized.

    Returns
    -------
    Tensor
        0-d, float32 or wider.

    Raises
    ------
    InputError
        If nothing is reparametrized.

    Examples
    --------
    >>> from mirrorflow.pilot import reparametrize
    >>> layer = nn.Linear(2, 1)
    >>> _ = layer.weight.data.copy_(torch.tensor([[3.0, -4.0]]))
    >>> l1_norm(reparametrize(layer))
    tensor(7.)
    """
    with torch.no_grad():
        norms = {}
        for weight in reparametrized(module):
            if weight.tie not in norms:
                x = getattr(weight.module, weight.key)
                wide = torch.promote_types(x.dtype, torch.float32)
                norms[weight.tie] = torch.linalg.vector_norm(x, ord=1, dtype=wide)
        if not norms:
            _factors(module)  # raises with the sentence
        device = next(iter(norms.values())).device
        return torch.stack([norm.to(device) for norm in norms.values()]).sum()


def _factors(module: nn.Module) -> list[nn.Parameter]:
    """Return m and w of every weight, each once."""
    factors = {id(p): p for _, m, w in named_factors(module) for p in (m, w)}
    if not factors:
        raise InputError(
            f"module must be reparametrized, but {type(module).__name__} holds no m ⊙ w weight."
        )
    return list(factors.values())
