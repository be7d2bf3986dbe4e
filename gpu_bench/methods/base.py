"""Interface of the methods, the ways to parametrize the prunable weights.

A method is an elementwise map x = g(θ₁, θ₂, …) with closed forms for its inverse (at the start)
and its vector-Jacobian product. The network itself always runs on the plain weights x, so a
training step is

    forward and backward on x;  ∂θ = (∂g/∂θ)ᵀ ∂x;  one SGD step on θ;  x = g(θ)

which costs a few passes over the weights and leaves autograd's graph as small as the plain
network's. All prunable weights lie in one vector, so each of these passes is one kernel.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from mirrorflow.checks import Array, InputError, number

if TYPE_CHECKING:
    from torch import Tensor

    from mirrorflow.runs.store import Row
else:
    Tensor = Any  # --help answers without torch

__all__ = ["METHODS", "Grid", "Look", "Method", "Parameters", "Plan", "Ranges", "Strength"]
__all__ += ["Tensor", "around"]

Parameters = tuple[Tensor, ...]
Grid = tuple[dict[str, float], ...]
Ranges = dict[str, tuple[float, float]]
METHODS: dict[str, type[Method]] = {}  # by name, each put here by its class statement
FINITE = (0.0, 1e300)  # range of an option for which its method has no other


class Look(NamedTuple):
    """Colour, line style and marker, as matplotlib names them.

    Parameters
    ----------
    colour : str
    dashes : str or tuple
    marker : str

    Examples
    --------
    >>> Look("black").marker
    'o'
    """

    colour: str
    dashes: Any = "-"
    marker: str = "o"


def around(**values: Sequence[float]) -> Grid:
    """Return all combinations of the values, the first of each first, then outwards.

    >>> around(lr=(0.1, 0.2), total=(3.0,))
    ({'lr': 0.1, 'total': 3.0}, {'lr': 0.2, 'total': 3.0})
    """
    indices = itertools.product(*(range(len(options)) for options in values.values()))
    return tuple(
        {name: options[i] for i, (name, options) in zip(index, values.items(), strict=True)}
        for index in sorted(indices, key=sum)
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """Facts of a run that a method may use before it starts.

    Attributes
    ----------
    epochs : int
        T.
    rates : Array, shape (steps,)
        η of every step.
    sizes : tuple of int
        Number of weights of each layer, in the order in which they lie in the vector x.
    weight_decay : float
        The ordinary one, per unit of η.
    momentum : float
        Of SGD.
    layers : dict of str to tuple of int
        Shape of each layer's weights, by name.
    norm : float
        ‖x‖₁ of the initial weights.
    like : Tensor, shape (0,)
        On their device and in their dtype.

    Examples
    --------
    >>> import numpy as np
    >>> Plan(epochs=2, rates=np.full(10, 0.1), sizes=(4, 2)).rate_sum > 0.9
    True
    """

    epochs: int
    rates: Array
    sizes: tuple[int, ...]
    weight_decay: float = 1e-4
    momentum: float = 0.0
    layers: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    norm: float = math.nan
    like: Tensor = None  # type: ignore[assignment]  # `Method.begin` knows it

    @property
    def rate_sum(self) -> float:
        """Σ η_k/(1 − momentum): flow time of the run. In small steps a decay of strength λ shrinks
        what has no gradient by e^{−λ·rate_sum}."""
        return float(self.rates.sum()) / (1.0 - self.momentum)


class Strength:
    """A number that training changes between epochs: a float here, a 0-d tensor on the device.

    A captured CUDA graph reads the tensor, so a new value needs no new capture; writing it is one
    asynchronous kernel.
    """

    def __init__(self, value: float, plan: Plan, factor: float = 1.0) -> None:
        self.value, self.factor = value, factor
        self.tensor = plan.like.new_full((), factor * value)

    def set(self, value: float) -> None:
        """Change the number; the tensor holds `factor` times it."""
        self.value = value
        self.tensor.fill_(self.factor * value)


@dataclass(frozen=True)
class Method(ABC):
    """One parametrization of the prunable weights; subclasses are dataclasses of their options.

    `class Mine(Method, name="mine")` makes the options flags: --mine.OPTION, explained by the
    strings below the fields. What a run adds to them, `plan` and cached properties, comes after
    `begin`.

    Attributes
    ----------
    name, label : str
        On the command line and in rows; in tables and figures, where it is another.
    look : Look
        In figures.
    learning_rate : float
        η where --lr is not given.
    grid : tuple of dict
        What `tune` tries, by the names of options, lr and weight_decay, the likeliest first;
        every method has the same number of settings, so that each is tuned with the same budget.
    original : dict
        Options, and lr, weight_decay, momentum and label_smoothing, as the method's authors have
        them: what `--recipe original` takes where the flags say nothing else.
    ranges : dict of str to (float, float)
        Least and largest value of the options that are not just any number ≥ 0.
    exact : bool
        Whether it makes exact zeros itself, before any cut.
    decayed : bool
        Whether it is m ⊙ w with the decay 2α on both and no other penalty, as the theory has it.

    Examples
    --------
    >>> from gpu_bench.methods import METHODS
    >>> METHODS["pilot"]().learning_rate
    0.2
    """

    name: ClassVar[str] = ""
    label: ClassVar[str] = ""
    look: ClassVar[Look]
    learning_rate: ClassVar[float] = 0.1
    grid: ClassVar[Grid]
    original: ClassVar[dict[str, Any]] = {}
    ranges: ClassVar[Ranges] = {}
    exact: ClassVar[bool] = False
    decayed: ClassVar[bool] = False

    def __init_subclass__(cls, name: str = "", label: str = "") -> None:
        if not name:
            return
        there = METHODS.setdefault(name, cls)
        if (there.__module__, there.__qualname__) != (cls.__module__, cls.__qualname__):
            rule = f"{name} must be the name of one method, but it is that of"
            raise InputError(f"{rule} {there.__module__} and {cls.__module__}.")
        METHODS[name], cls.name, cls.label = cls, name, label or name

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the options with their defaults."""
        return {field.name: field.default for field in dataclasses.fields(cls)}

    @classmethod
    def column(cls, option: str) -> str:
        """Return what an option is called in rows; those of all methods, as lr, as they are."""
        return f"{cls.name}.{option}" if option in cls.options() else option

    @classmethod
    def flag(cls, option: str, value: Any = None) -> str:
        """Return an option as it is typed; with a value, a switch that is off as --NAME.no-…"""
        no = "no-" if value is False else ""
        return f"--{cls.name}.{no}{option.replace('_', '-')}"

    @classmethod
    def strength(cls, options: Mapping[str, Any]) -> str:
        """Return the option that makes more zeros where it is larger: that of the grid beside lr,
        "" where there is none; `options` are those of a run."""
        return next((option for option in cls.grid[0] if option != "lr"), "")

    @classmethod
    def possible(cls, setting: Mapping[str, float], rates: Array, momentum: float) -> Row:
        """Return a setting as it acts, lowered to what these steps can do."""
        return dict(setting)

    def check(self) -> None:
        """Raise InputError where an option breaks its rule."""
        for option in self.options():
            value = getattr(self, option)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                low, high = self.ranges.get(option, FINITE)
                number(self.flag(option), value, low, high, infinite=high == math.inf)

    def check_steps(self, rates: Array, momentum: float) -> None:  # noqa: B027
        """Raise InputError where an option asks more than these steps can do."""

    def begin(self, plan: Plan, x: Tensor) -> None:
        """Learn about the run; x (N,) holds the initial weights. Called before `start`."""
        norm, like = float(x.norm(1)), x.new_empty(0)
        vars(self)["_plan"] = dataclasses.replace(plan, norm=norm, like=like)

    @property
    def plan(self) -> Plan:
        """Facts of the run, known from `begin` on."""
        plan: Plan = vars(self)["_plan"]
        return plan

    @property
    def seed(self) -> int:
        """Of the run, for its random numbers."""
        return int(vars(self).get("_seed", 0))

    @abstractmethod
    def inverse(self, x: Tensor) -> Parameters:
        """Return the parameters θ with g(θ) = x."""

    @abstractmethod
    def weight(self, *parameters: Tensor) -> Tensor:
        """Return x = g(θ)."""

    @abstractmethod
    def gradients(self, parameters: Parameters, gradient: Tensor) -> Parameters:
        """Return (∂g/∂θ)ᵀ ∂x for each θ; new tensors, or `gradient` itself."""

    @abstractmethod
    def decays(self) -> tuple[Tensor | float, ...]:
        """Return the weight decay λ of each θ: λθ is added to its gradient."""

    def penalize(self, parameters: Parameters, gradients: Parameters) -> None:  # noqa: B027
        """Add the gradient of a further penalty to `gradients`, in place."""

    def after_step(  # noqa: B027
        self, parameters: Parameters, gradient: Tensor, minus_rate: Tensor
    ) -> None:
        """Move θ further, in place: `gradient` is ∂x before the step, `minus_rate` −η, 0-d."""

    def between_steps(
        self, step: int, parameters: Parameters, velocities: Sequence[Tensor], gradient: Tensor
    ) -> bool:
        """Change θ and the velocities in place after step 1, 2, …; returns whether it has.

        No part of a captured step, so it may do something every hundred steps; what it decides must
        not wait for the device. `gradient` is ∂x of that step.
        """
        return False

    def after_epoch(self, epoch: int, accuracy: float, norm: float) -> None:  # noqa: B027
        """Take the measurements of epoch k = 1 … T: running accuracy, ‖x‖₁."""

    def fold(self, *parameters: Tensor) -> Tensor:
        """Return the final weights."""
        return self.weight(*parameters)

    @property
    def alpha(self) -> float | None:
        """α in force, of the penalty α(‖m‖² + ‖w‖²); None where there is no such penalty."""
        return None

    @property
    def imbalance(self) -> float | None:
        """β = m₀² − w₀²; None where there are no m and w."""
        return None

    def readings(self) -> dict[str, float]:
        """Return the method's own numbers for the row of a run, by name."""
        return {}
