"""Normalisation of raw pixels to a network's input."""

from __future__ import annotations

import torch
from torch import Tensor

from mirrorflow.checks import InputError

__all__ = ["Normalise"]


class Normalise:
    """(B, H, W, C) uint8 u on the device → (B, C, H, W): (u/255 − mean)/std, channel by channel.

    Computed in float32 as u·scale + shift, one multiplication and one addition per pixel, then
    rounded to `dtype`, a floating one (else InputError). Mean and standard deviation (C,) are of
    images scaled to [0, 1].
    """

    def __init__(
        self,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: torch.device,
        dtype: torch.dtype,
        channels_last: bool,
    ) -> None:
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise InputError(f"dtype must be a floating torch dtype, but it is {dtype!r}.")
        self.dtype = dtype
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        centre, spread = (torch.tensor(moment).double().view(1, -1, 1, 1) for moment in (mean, std))
        self._scale = (1.0 / (255.0 * spread)).float().to(device)
        self._shift = (-centre / spread).float().to(device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the normalised images, in memory of their own."""
        wide = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=self.layout)
        return wide.mul_(self._scale).add_(self._shift).to(self.dtype)
