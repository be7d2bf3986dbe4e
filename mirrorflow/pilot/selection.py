"""Which weights of a module become m ⊙ w, and which of them can't."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from mirrorflow.checks import InputError
from mirrorflow.pilot.product import FactorProduct

__all__ = ["default_selection"]

Selection = Callable[[str, nn.Module, str], bool]

ATTENTION_WEIGHTS = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
NORMALISATIONS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


@dataclass(frozen=True, slots=True, eq=False)
class Weight:
    """One registration of a parameter: `module.<key>`, known to the user as `name`."""

    name: str
    module: nn.Module
    key: str

    @property
    def parameter(self) -> nn.Parameter:
        return cast(nn.Parameter, self.module._parameters[self.key])

    @property
    def chain(self) -> parametrize.ParametrizationList:
        lists = cast(nn.ModuleDict, self.module.parametrizations)
        return cast(parametrize.ParametrizationList, lists[self.key])

    @property
    def factors(self) -> tuple[nn.Parameter, nn.Parameter]:
        return cast(nn.Parameter, self.chain.original0), cast(nn.Parameter, self.chain.original1)

    @property
    def tie(self) -> tuple[int, ...]:
        """The same for weights that share m and w, unless something else is stacked on them."""
        m, w = self.factors
        return (id(m), id(w)) if len(self.chain) == 1 else (id(self.module), hash(self.key))


def default_selection(module_name: str, module: nn.Module, parameter_name: str) -> bool:
    """Weights of convolutions (also transposed), linear layers and multi-head attention.

    Parameters
    ----------
    module_name : str
        Dotted, "" for the whole.
    module : nn.Module
    parameter_name : str

    Returns
    -------
    bool

    Examples
    --------
    >>> default_selection("fc", nn.Linear(3, 2), "weight")
    True
    >>> default_selection("table", nn.Embedding(3, 2), "weight")
    False
    """
    if isinstance(module, nn.MultiheadAttention):
        return parameter_name in ATTENTION_WEIGHTS
    return parameter_name == "weight" and isinstance(module, _ConvNd | nn.Linear)


def submodules(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield (name, submodule), without the insides of torch's parametrizations."""
    inside: set[int] = set()
    for name, part in module.named_modules():
        if parametrize.is_parametrized(part):
            inside.update(id(inner) for inner in cast(nn.Module, part.parametrizations).modules())
        if id(part) not in inside:
            yield name, part


def reparametrized(module: nn.Module) -> Iterator[Weight]:
    """Yield the weights whose first parametrization is m ⊙ w."""
    for prefix, part in submodules(module):
        if parametrize.is_parametrized(part):
            for key, chain in cast(nn.ModuleDict, part.parametrizations).items():
                if isinstance(cast(nn.ModuleList, chain)[0], FactorProduct):
                    yield Weight(f"{prefix}.{key}".lstrip("."), part, key)


def selected(module: nn.Module, select: Selection) -> list[Weight]:
    """Return what `select` chooses, or raise where it can't be reparametrized."""
    chosen = []
    for prefix, part in submodules(module):
        if isinstance(part, NORMALISATIONS):
            continue
        parametrized = (
            list(cast(nn.ModuleDict, part.parametrizations))
            if parametrize.is_parametrized(part)
            else []
        )
        parameters = [key for key, value in part._parameters.items() if value is not None]
        # weight_norm's and pruning's older hooks leave a plain tensor in the weight's place.
        hooked = [
            key
            for key, value in vars(part).items()
            if isinstance(value, Tensor) and default_selection(prefix, part, key)
        ]
        for key in (*parametrized, *parameters, *hooked):
            if "bias" in key.split("_") or not select(prefix, part, key):
                continue
            weight = Weight(f"{prefix}.{key}".lstrip("."), part, key)
            rule = ""
            if key in parametrized and isinstance(weight.chain[0], FactorProduct):
                rule = "is already reparametrized; fold the module first or"
            elif key in parametrized:
                kind = type(weight.chain[0]).__name__
                rule = f"must be a plain parameter, but it has the parametrization {kind}; remove "
                rule += "that or"
            elif key in hooked:
                rule = "must be a plain parameter, but a hook computes it; remove the hook "
                rule += "(torch.nn.utils.remove_weight_norm, prune.remove) or"
            elif is_lazy(weight.parameter):
                rule = "must have values, but it is not initialised; run one forward pass first, or"
            elif isinstance(part, nn.RNNBase):
                rule = (
                    f"can't be reparametrized, because {type(part).__name__} keeps a list of its "
                )
                rule += "weights that copying doesn't follow;"
            if rule:
                raise InputError(f"{weight.name} {rule} leave it out with select.")
            chosen.append(weight)
    return chosen


def check_module(module: nn.Module) -> None:
    """Raise unless `module` is one whose parameters may be replaced."""
    if not isinstance(module, nn.Module):
        raise InputError(f"module must be a torch.nn.Module, but it is {module!r}.")
    for part in module.modules():
        if isinstance(part, DistributedDataParallel | torch.jit.ScriptModule):
            raise InputError(
                f"module must not hold a {type(part).__name__}, which keeps the parameters it "
                f"was made with; use the module inside it."
            )


def check_ties(module: nn.Module, weights: list[Weight]) -> None:
    """Raise where a chosen weight is also registered under a name that was not chosen."""
    chosen = {(id(weight.module), weight.key): weight for weight in weights}
    by_memory: dict[tuple[torch.device, int], Weight] = {
        (weight.parameter.device, weight.parameter.data_ptr()): weight
        for weight in weights
        if weight.parameter.numel()
    }
    by_identity = {id(weight.parameter): weight for weight in weights}
    for prefix, part in module.named_modules():
        for key, x in part._parameters.items():
            if x is None or is_lazy(x):
                continue
            name = f"{prefix}.{key}".lstrip(".")
            twin = by_identity.get(id(x))
            if twin is not None:
                if (id(part), key) not in chosen:
                    raise InputError(
                        f"{twin.name} is the same parameter as {name}, which select leaves out; "
                        f"select both or neither."
                    )
                continue
            other = None if x.is_meta else by_memory.get((x.device, _address(x)))
            if other is not None:
                _refuse_shared_memory(other.name, name)
    for weight in weights:
        x = weight.parameter
        other = by_memory.get((x.device, x.data_ptr())) if x.numel() else None
        if other is not None and other.parameter is not x:
            _refuse_shared_memory(weight.name, other.name)


def _address(x: Tensor) -> int:
    """Return where the values of `x` lie; -1 where there are none or no address."""
    return x.data_ptr() if x.numel() and x.layout == torch.strided else -1


def _refuse_shared_memory(one: str, other: str) -> None:
    raise InputError(
        f"{one} and {other} share memory without being one Parameter, so m ⊙ w would part them; "
        f"make them one Parameter or leave both out with select."
    )
