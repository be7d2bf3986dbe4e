"""The parametrization x = m ⊙ w itself."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from mirrorflow.pilot.initialisation import balanced_factors, pilot_factors

__all__ = ["FactorProduct"]

Init = Literal["pilot", "balanced"]


class FactorProduct(nn.Module):
    """The parametrization x = m ⊙ w; its right inverse is the initialisation.

    Attributes
    ----------
    init, beta
        What `right_inverse` computes, also when a value is assigned to the weight later.
    order : tuple of str
        The module's parameters in their order before; `fold` restores it, because optimizers
        and their saved states know parameters by position.

    Examples
    --------
    >>> from mirrorflow import pilot
    >>> layer = pilot.reparametrize(nn.Linear(3, 2))
    >>> type(layer.parametrizations.weight[0]).__name__
    'FactorProduct'
    """

    def __init__(self, init: Init, beta: float, order: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.init: Init = init
        self.beta = beta
        self.order = order

    def forward(self, m: Tensor, w: Tensor) -> Tensor:
        """Return x = m ⊙ w."""
        return m * w

    def right_inverse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (m, w) with m ⊙ w = x."""
        return pilot_factors(x, self.beta) if self.init == "pilot" else balanced_factors(x)

    def extra_repr(self) -> str:
        """Show what the factors were initialised with."""
        return f"init={self.init}" + (f", beta={self.beta:g}" if self.init == "pilot" else "")
