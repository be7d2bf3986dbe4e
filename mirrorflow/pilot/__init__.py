"""PILoT in torch: weights as x = m ⊙ w, their decay 2α, and the rule that moves α.

>>> from torch import nn, optim
>>> from mirrorflow.pilot import Controller, fold, l1_norm, parameter_groups, reparametrize
>>> model = reparametrize(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
>>> controller = Controller(alpha=1e-4, threshold=8000.0, epochs=150)
>>> optimizer = optim.SGD(parameter_groups(model, 1e-4, controller.alpha), lr=0.1, momentum=0.9)
>>> # ... one epoch of training, then:
>>> alpha = controller.step(accuracy=0.5, l1_norm=l1_norm(model))
>>> controller.apply(optimizer)
>>> model = fold(model)
"""

from mirrorflow.extras import require

require("mirrorflow.pilot", "torch")

from mirrorflow.pilot.controller import Controller
from mirrorflow.pilot.decay import alpha_for_total, free_total, largest_total, steps_for_total
from mirrorflow.pilot.initialisation import balanced_factors, pilot_factors
from mirrorflow.pilot.ledger import BalanceLedger
from mirrorflow.pilot.parametrization import fold, named_factors, reparametrize
from mirrorflow.pilot.penalty import l1_norm, parameter_groups
from mirrorflow.pilot.product import FactorProduct
from mirrorflow.pilot.selection import default_selection

__all__ = ["BalanceLedger", "Controller", "FactorProduct", "alpha_for_total", "balanced_factors"]
__all__ += ["default_selection", "fold", "free_total", "l1_norm", "largest_total", "named_factors"]
__all__ += ["parameter_groups", "pilot_factors", "reparametrize", "steps_for_total"]
