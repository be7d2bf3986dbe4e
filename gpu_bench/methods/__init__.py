"""Methods: ways to parametrize the prunable weights, by their names on the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gpu_bench.methods.base import Method, Plan
from gpu_bench.methods.continuous import Continuous
from gpu_bench.methods.dense import Dense
from gpu_bench.methods.lasso import Lasso
from gpu_bench.methods.mask_l1 import MaskL1
from gpu_bench.methods.pilot import Pilot
from gpu_bench.methods.powerprop import Powerprop
from gpu_bench.methods.soft_threshold import SoftThreshold
from gpu_bench.methods.spred import Spred
from mirrorflow.checks import InputError, meant

__all__ = ["METHODS", "Method", "Plan", "build", "options"]

METHODS: dict[str, type[Method]] = {
    "dense": Dense,
    "pilot": Pilot,
    "spred": Spred,
    "lasso": Lasso,
    "mask-l1": MaskL1,
    "str": SoftThreshold,
    "powerprop": Powerprop,
    "continuous": Continuous,
}


def options(name: str) -> dict[str, Any]:
    """Return the options that a method has, with their defaults.

    Raises
    ------
    InputError
        If there is no such method.
    """
    if name not in METHODS:
        rule = f"--methods must be among {', '.join(METHODS)}, but {name!r} is not."
        raise InputError(rule + meant(name, METHODS))
    fields = dataclasses.fields(METHODS[name])  # type: ignore[arg-type]  # all are dataclasses
    return {field.name: field.default for field in fields}


def build(name: str, given: Mapping[str, Any]) -> Method:
    """Return a fresh method with the options found in `given`; others there are passed over."""
    return METHODS[name](**{key: given[key] for key in options(name) if key in given})
