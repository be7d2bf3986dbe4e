"""Arguments of certificates, checked against their annotations in one place."""

from __future__ import annotations

import functools
import inspect
import math
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mirrorflow.checks import Array, InputError, brief, instance, number, real_array, whole
from mirrorflow.own_schedules import check_schedule
from mirrorflow.schedules import Schedule

__all__ = ["checked"]

# least, largest, whether the least is out of range: what a name says in every certificate
POSITIVE = (0.0, math.inf, True)
RULES = dict.fromkeys(("step_size", "end", "time", "log_1_over_a"), POSITIVE)
RULES |= dict.fromkeys(("alpha", "tau", "sigma", "total", "totals"), (0.0, math.inf, False)) | {
    "rtol": (0.0, 1.0, True)
}


def checked(certificate: Callable[..., Any]) -> Callable[..., Any]:
    """The certificate, which raises InputError where an argument is of another kind.

    Numbers must not be nan, arrays and sequences must be finite and not empty; rules of their own
    and shapes are the certificate's.
    """
    signature = inspect.signature(certificate)
    kinds: dict[str, Any] = {}

    @functools.wraps(certificate)
    def judge(*positional: Any, **named: Any) -> Any:
        kinds.update({} if kinds else typing.get_type_hints(certificate))
        given = signature.bind(*positional, **named)
        for name, value in given.arguments.items():
            given.arguments[name] = _of_kind(name, value, kinds[name])
        return certificate(*given.args, **given.kwargs)

    return judge


def _of_kind(name: str, value: Any, kind: Any) -> Any:
    choices = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and type(None) in choices:
        return None
    if float in choices and (np.ndim(value) == 0 or Array not in choices):
        low, high, open_low = RULES.get(name, (-math.inf, math.inf, False))
        endless = name in ("total", "totals")
        return number(name, value, low, high, open_low=open_low, infinite=endless)
    if int in choices:
        return whole(name, value, 0)
    if Array in choices:
        return real_array(name, value, max(getattr(value, "ndim", 1), 1))
    origin = typing.get_origin(kind if len(choices) == 1 else choices[0])
    if origin is tuple or origin is Sequence:
        return _sequence(name, value, kind if len(choices) == 1 else choices[0])
    classes = tuple(one for one in choices if isinstance(one, type) and one is not type(None))
    if Schedule in classes:
        check_schedule(value)
    elif classes and origin is None:
        instance(name, value, *classes)
    return value


def _sequence(name: str, value: Any, kind: Any) -> Any:
    """Each of a tuple or a sequence."""
    parts = typing.get_args(kind)
    fixed = typing.get_origin(kind) is tuple and Ellipsis not in parts
    if isinstance(value, str) or not isinstance(value, Sequence | np.ndarray) or not len(value):
        raise InputError(f"{name} must be a sequence that is not empty, but it is {brief(value)}.")
    if fixed and len(value) != len(parts):
        raise InputError(f"{name} must have {len(parts)} entries, but it has {len(value)}.")
    return tuple(_of_kind(name, one, parts[0]) for one in value)
