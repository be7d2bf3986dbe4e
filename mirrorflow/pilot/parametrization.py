"""Put m ⊙ w in the place of a module's weights, and plain weights back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from mirrorflow.checks import InputError
from mirrorflow.pilot.initialisation import check_beta, check_tensor
from mirrorflow.pilot.product import FactorProduct, Init
from mirrorflow.pilot.selection import (
    Selection,
    Weight,
    check_module,
    check_ties,
    default_selection,
    reparametrized,
    selected,
)

__all__ = ["fold", "named_factors", "reparametrize"]


def reparametrize(
    module: nn.Module,
    beta: float = 1.0,
    init: Init = "pilot",
    select: Selection = default_selection,
) -> nn.Module:
    """Replace the selected weights x by m ⊙ w, in place, and return `module`.

    Each weight becomes two parameters, `parametrizations.<weight>.original0` (m) and
    `….original1` (w), so there is exactly one extra parameter per weight and the module
    computes the same outputs to rounding. Call it before the optimizer is made and before
    `DistributedDataParallel` wraps the module. Reading the weight gives m ⊙ w; assigning to
    it (`layer.weight = value`) initialises m and w anew, whereas changing it in place (as
    `nn.init` does) changes a temporary. A checkpoint of plain weights is loaded before this call
    (after it, `load_state_dict` raises InputError), one of m and w after it; whole-module
    pickling is not supported by torch here.

    Parameters
    ----------
    module : nn.Module
        Changed in place; nothing is changed if an error is raised. Weights tied to each other
        stay tied: they share m and w.
    beta : float
        m² − w² = β > 0 at the start ("pilot" only). Smaller: closer to L1 from the beginning.
    init : {"pilot", "balanced"}
        "balanced" starts at |m| = |w|, which fixes every weight's sign.
    select : callable
        `select(module_name, module, parameter_name) -> bool`, with the submodule's dotted name
        ("" for `module` itself) and the parameter's own name, e.g. ("layer1.0", conv, "weight").
        It is asked about every parameter but biases and those of normalisation layers, which
        are never reparametrized. `default_selection` leaves embeddings out.

    Returns
    -------
    nn.Module
        `module` itself.

    Raises
    ------
    InputError
        If β ≤ 0, nothing is selected, a selected weight is already parametrized, not finite,
        not yet initialised, an RNN's, or tied to one that is not selected.

    Examples
    --------
    >>> [name for name, _ in reparametrize(nn.Linear(3, 2, bias=False)).named_parameters()]
    ['parametrizations.weight.original0', 'parametrizations.weight.original1']
    """
    check_module(module)
    if init not in ("pilot", "balanced"):
        raise InputError(f'init must be "pilot" or "balanced", but it is {init!r}.')
    if not callable(select):
        raise InputError(f"select must be callable, but it is {select!r}.")
    beta = check_beta(beta, torch.float64)
    weights = selected(module, select)
    if not weights:
        raise InputError(
            f"module must have a weight to reparametrize, but select chose none in "
            f"{type(module).__name__}."
        )
    for weight in weights:
        check_tensor(weight.name, weight.parameter)
        check_beta(beta, weight.parameter.dtype)
    check_ties(module, weights)

    done: list[tuple[Weight, nn.Parameter]] = []
    first: dict[int, Weight] = {}
    try:
        for weight in weights:
            x = weight.parameter
            product = FactorProduct(init, beta, _order(weight.module))
            _own_class(weight.module)
            parametrize.register_parametrization(weight.module, weight.key, product)
            done.append((weight, x))
            cast(Any, type(weight.module))._load_from_state_dict = _load_from_state_dict
            m, w = first.setdefault(id(x), weight).factors
            weight.chain.original0, weight.chain.original1 = m, w
    except BaseException:
        for weight, x in reversed(done):
            _restore(weight, x)
        raise
    return module


def fold(module: nn.Module) -> nn.Module:
    """Replace m and w by the plain weight x = m ⊙ w, in place, and return `module`.

    Outputs, `state_dict` keys, their order and `requires_grad` are as without
    reparametrization; ties are kept. Parametrizations that were stacked on top of m ⊙ w
    (a mask, say) are folded into the weight with it. For a look in the middle of training
    use `fold(copy.deepcopy(module))`, which leaves `module` alone.

    Parameters
    ----------
    module : nn.Module
        Changed in place.

    Returns
    -------
    nn.Module
        `module` itself.

    Raises
    ------
    InputError
        If nothing in `module` is reparametrized.

    Examples
    --------
    >>> layer = fold(reparametrize(nn.Linear(3, 2, bias=False)))
    >>> [name for name, _ in layer.named_parameters()]
    ['weight']
    """
    check_module(module)
    weights = list(reparametrized(module))
    if not weights:
        raise InputError(
            f"module must be reparametrized before it is folded, but {type(module).__name__} "
            f"holds no m ⊙ w weight."
        )
    folded: dict[tuple[int, ...], nn.Parameter] = {}
    values = []
    with torch.no_grad():
        for weight in weights:
            if weight.tie not in folded:
                x = getattr(weight.module, weight.key).detach().clone()
                trained = any(factor.requires_grad for factor in weight.factors)
                folded[weight.tie] = nn.Parameter(x, requires_grad=trained)
            values.append(folded[weight.tie])
    for weight, value in zip(weights, values, strict=True):
        _restore(weight, value)
    return module


def named_factors(module: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Parameter]]:
    """Yield (name, m, w) of every reparametrized weight, tied ones once.

    The name is the plain weight's, e.g. "layer1.0.conv1.weight".

    Parameters
    ----------
    module : nn.Module

    Returns
    -------
    iterator of (str, nn.Parameter, nn.Parameter)

    Examples
    --------
    >>> [name for name, m, w in named_factors(reparametrize(nn.Linear(3, 2)))]
    ['weight']
    """
    seen = set()
    for weight in reparametrized(module):
        m, w = weight.factors
        if (id(m), id(w)) not in seen:
            seen.add((id(m), id(w)))
            yield weight.name, m, w


def _order(module: nn.Module) -> tuple[str, ...]:
    """Return the names of a module's parameters in their order before any reparametrization."""
    for weight in reparametrized(module):
        if weight.module is module:
            return cast(FactorProduct, weight.chain[0]).order
    return tuple(module._parameters)


def _own_class(module: nn.Module) -> None:
    """Give a parametrized module a class of its own.

    torch keeps the weight as a property on a class made for the module, and `deepcopy` lets the
    copy share that class; adding or removing a property would then break the other module.
    """
    if parametrize.is_parametrized(module):
        cls = type(module)
        own = {k: v for k, v in vars(cls).items() if k not in ("__dict__", "__weakref__")}
        module.__class__ = type(cls.__name__, cls.__bases__, own)


def _load_from_state_dict(self: nn.Module, state_dict: Any, prefix: str, *rest: Any) -> None:
    """What torch calls to load a module's own tensors, here of a class that torch made for it."""
    for key in cast(nn.ModuleDict, self.parametrizations):
        if prefix + key in state_dict:
            raise InputError(
                f"state_dict must hold m and w of {prefix + key}, but it holds the plain weight; "
                f"load it before reparametrize, or into fold(module) and reparametrize that again."
            )
    cast(Any, super(type(self), self))._load_from_state_dict(state_dict, prefix, *rest)


def _restore(weight: Weight, value: nn.Parameter) -> None:
    """Put `value` in the place of the parametrized weight, where it stood before."""
    module, key = weight.module, weight.key
    order = cast(FactorProduct, weight.chain[0]).order
    _own_class(module)
    # torch leaves the product as a buffer under no_grad, and would for a frozen weight anyway.
    with torch.no_grad():
        parametrize.remove_parametrizations(module, key)
    delattr(module, key)
    module.register_parameter(key, value)
    known = {name: position for position, name in enumerate(order)}
    for name in sorted(module._parameters, key=lambda name: known.get(name, len(order))):
        module._parameters[name] = module._parameters.pop(name)
