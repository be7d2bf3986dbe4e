"""Patterns N:M: masks that keep N of every M neighbours, as sparse tensor cores want them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from mirrorflow.checks import InputError

__all__ = ["numbers", "pattern"]

LARGEST = 64


def numbers(text: str) -> tuple[int, int]:
    """Return N and M of "N:M".

    >>> numbers("2:4")
    (2, 4)
    """
    matched = re.fullmatch(r"([0-9]{1,2}):([0-9]{1,2})", text)
    kept, group = map(int, matched.groups()) if matched else (0, 0)
    if not 1 <= kept < group <= LARGEST:
        rule = f"--pattern must be N:M with 1 ≤ N < M ≤ {LARGEST}, such as 2:4"
        raise InputError(f"{rule}, but it is {text!r:.40}.")
    return kept, group


def pattern(weights: Mapping[str, Tensor], kept: int, group: int) -> dict[str, Tensor]:
    """Keep the largest `kept` of each `group` neighbours along the inputs of a layer.

    Neighbours are input channels i, …, i + group − 1 of one output, at one position of a kernel. A
    layer whose number of inputs `group` does not divide (a stem of three channels, a depthwise
    convolution) keeps all. Of equally large weights (outputs, inputs, …) the earlier ones stay;
    masks are True there.
    """
    masks = {}
    for name, weight in weights.items():
        mask = torch.ones(weight.shape, dtype=torch.bool, device=weight.device)
        if weight.ndim > 1 and weight.shape[1] % group == 0:
            size = weight.detach().abs().movedim(1, -1)
            order = size.reshape(-1, group).argsort(dim=1, descending=True, stable=True)
            rows = torch.zeros(order.shape, dtype=torch.bool, device=weight.device)
            rows.scatter_(1, order[:, :kept], True)
            mask = rows.view(size.shape).movedim(-1, 1).contiguous()
        masks[name] = mask
    return masks
