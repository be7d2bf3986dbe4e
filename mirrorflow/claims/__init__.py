"""Claims of the theory with the trials that judge them: each file of this folder is in the ledger.

Statement, source, conditions and the formulas that are wrong stand once, on the trial that computes
their certificates: `judges`, `Claim`.
"""

import importlib
import pkgutil

from mirrorflow.claims.registry import Claim, judges

__all__ = ["Claim", "judges"]

FIRST = ("paths", "convergence", "limits", "potential")  # the paper's own; then by name
_names = sorted(module.name for module in pkgutil.iter_modules(__path__))
for _name in sorted(_names, key=lambda name: (*FIRST, name).index(name)):
    importlib.import_module(f"{__name__}.{_name}")
