"""The penalty α(‖m‖² + ‖w‖²) as weight decay, and the norm ‖m ⊙ w‖₁ that steers α."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mirrorflow.checks import InputError, number
from mirrorflow.pilot.parametrization import named_factors

__all__ = ["add_penalty_gradient", "l1_norm", "parameter_groups"]


def parameter_groups(module: nn.Module, weight_decay: float, alpha: float) -> list[dict[str, Any]]:
    """Return the parameter groups "factors" (m, w; decay 2α) and "rest", for any torch optimizer.

    The gradient of α(‖m‖² + ‖w‖²) is 2α(m, w), so `weight_decay` = 2α on m and w and no other
    decay there. The rest (biases, normalisation, what was not selected) keeps the ordinary
    decay. With optimizers that decouple the decay (AdamW) or rescale the gradient (Adam) it is
    2α in that optimizer's own sense.

    Parameters
    ----------
    module : nn.Module
        Reparametrized.
    weight_decay : float
        The ordinary decay, ≥ 0.
    alpha : float
        α ≥ 0; later changed with `Controller.apply`.

    Raises
    ------
    InputError
        If a decay is negative or not finite, or nothing is reparametrized.
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


def add_penalty_gradient(module: nn.Module, alpha: float | Tensor) -> None:
    """Add 2α m and 2α w to the gradients of m and w: the penalty without the optimizer's decay.

    For captured CUDA graphs. Optimizers read `weight_decay` as a Python number, which a capture
    freezes; an α in a 0-d tensor on the device stays free (`Controller.fill`). Give the group
    "factors" the decay 0 (`parameter_groups(module, weight_decay, 0.0)`) and call this between
    `backward` (with a gradient scaler: `unscale_`) and `step`. Parameters without a gradient
    are passed over, as optimizers do.

    Raises
    ------
    InputError
        If nothing is reparametrized.
    """
    with torch.no_grad():
        for parameter in _factors(module):
            if parameter.grad is not None:
                parameter.grad.add_(parameter * (2.0 * alpha))


def l1_norm(module: nn.Module) -> Tensor:
    """Return ‖m ⊙ w‖₁ over all reparametrized weights: a 0-d tensor, without synchronisation.

    Summed in float32 or wider, since half precision would overflow; detached, on the device of
    the first weight; tied weights count once.

    Raises
    ------
    InputError
        If nothing is reparametrized.
    """
    with torch.no_grad():
        norms = []
        for _, m, w in named_factors(module):
            x = m * w
            wide = torch.promote_types(x.dtype, torch.float32)
            norms.append(torch.linalg.vector_norm(x, ord=1, dtype=wide))
        if not norms:
            _factors(module)  # raises with the sentence
        return torch.stack([norm.to(norms[0].device) for norm in norms]).sum()


def _factors(module: nn.Module) -> list[nn.Parameter]:
    """Return m and w of every weight, each once."""
    factors = {id(p): p for _, m, w in named_factors(module) for p in (m, w)}
    if not factors:
        raise InputError(
            f"module must be reparametrized, but {type(module).__name__} holds no m ⊙ w weight."
        )
    return list(factors.values())
