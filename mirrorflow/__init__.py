"""Diagonal linear networks x = m ⊙ w: gradient flows, potentials, limits, certificates.

numpy, scipy and threadpoolctl are enough. torch, cvxpy, matplotlib, pandas and scikit-learn are
loaded where they are used; one that is missing is named there with the extra that installs it.
Nothing is loaded before it is asked for: neither a name of this list nor a module.
"""

import ast
import importlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors; at run time __getattr__ does what it says
    from mirrorflow import certificates as certificates
    from mirrorflow import commuting as commuting
    from mirrorflow import pilot as pilot
    from mirrorflow import plots as plots
    from mirrorflow import results as results
    from mirrorflow.certificates import Certificate
    from mirrorflow.checks import InputError
    from mirrorflow.descent import (
        Descent,
        DescentPath,
        Sam,
        descend,
        discrete_limit,
        follow_descent,
        predicted_gain,
    )
    from mirrorflow.flows import (
        Flow,
        MarginFlow,
        MomentumFlow,
        SaddlePath,
        controlled_flow,
        direct_flow,
        direct_flows,
        gradient_flow,
        gradient_flows,
        margin_flow,
        momentum_flow,
        saddle_path,
        softmax_flow,
    )
    from mirrorflow.limits import (
        Interpolator,
        L1Distance,
        MaxMargin,
        interpolator,
        interpolators,
        l1_distance,
        lasso_limit,
        max_margin,
        total_for_l1,
    )
    from mirrorflow.losses import Exponential, Logistic, Loss, Poisson, PseudoHuber, Squared
    from mirrorflow.maps import (
        DeepFactors,
        Factors,
        Ham,
        HyperbolicEntropy,
        LogFactors,
        MirrorMap,
        Potential,
        Powers,
        SignedPower,
    )
    from mirrorflow.maps.custom import Custom
    from mirrorflow.problems import Regression, diabetes, digits_sensing, gaussian_recovery, load
    from mirrorflow.references import Reference, lasso, min_l1, min_l2, min_potential
    from mirrorflow.result import Result, ResultError
    from mirrorflow.schedules import Constant, Geometric, Harmonic, Piecewise, Quadratic, Schedule
    from mirrorflow.stepwise import Stepwise

__version__ = "0.1.0"

__all__ = ["Certificate", "Constant", "Custom", "DeepFactors", "Descent", "DescentPath"]
__all__ += ["Exponential", "Factors", "Flow", "Geometric", "Ham", "Harmonic", "HyperbolicEntropy"]
__all__ += ["InputError", "Interpolator", "L1Distance", "LogFactors", "Logistic", "Loss"]
__all__ += ["MarginFlow", "MaxMargin", "MirrorMap", "MomentumFlow", "Piecewise", "Poisson"]
__all__ += ["Potential", "Powers", "PseudoHuber", "Quadratic", "Reference", "Regression"]
__all__ += [
    "Result",
    "ResultError",
    "SaddlePath",
    "Sam",
    "Schedule",
    "SignedPower",
    "Squared",
    "Stepwise",
    "descend",
]
__all__ += ["diabetes", "digits_sensing", "direct_flow", "direct_flows", "discrete_limit"]
__all__ += ["follow_descent", "gaussian_recovery", "gradient_flow", "gradient_flows"]
__all__ += ["interpolator", "interpolators", "l1_distance", "lasso", "lasso_limit", "load"]
__all__ += ["margin_flow", "max_margin", "min_l1", "min_l2", "min_potential", "momentum_flow"]
__all__ += ["controlled_flow", "predicted_gain", "saddle_path", "softmax_flow", "total_for_l1"]

# modules that are there without being asked for by name, and what they can't do without
_MODULES = {
    "certificates": "numpy",
    "commuting": "numpy",
    "pilot": "torch",
    "plots": "matplotlib",
    "results": "numpy",
}

if not TYPE_CHECKING:  # for mypy no name but these exists

    @cache
    def _origins() -> dict[str, str]:
        """The module of each name that is imported above."""
        origins = {}
        for node in ast.walk(ast.parse(Path(__file__).read_bytes())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith(f"{__name__}."):
                origins |= dict.fromkeys((alias.name for alias in node.names), node.module)
        return origins

    def __getattr__(name: str) -> Any:
        if name in __all__:
            value = getattr(importlib.import_module(_origins()[name]), name)
        elif importlib.util.find_spec(f"{__name__}.{name}") is not None:
            value = importlib.import_module(f"{__name__}.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return globals().setdefault(name, value)

    def __dir__() -> list[str]:
        """What can be had here: whoever loads all of it, as `help` does, finds no gap."""
        available = {name for name, needs in _MODULES.items() if importlib.util.find_spec(needs)}
        return sorted({*globals(), *__all__, *available})
