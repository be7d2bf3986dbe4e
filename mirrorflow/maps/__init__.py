"""Mirror maps: what is trained, x = g(θ), and the potential that it induces; one file each.

`custom` needs `commuting` and its certificates, and is imported by name: what only needs `Factors`,
such as training, must not depend on those.
"""

from mirrorflow.maps.base import MirrorMap, Potential
from mirrorflow.maps.deep import DeepFactors
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.ham import Ham
from mirrorflow.maps.log_factors import LogFactors
from mirrorflow.maps.pairs import check_pair as check_pair
from mirrorflow.maps.powers import Powers
from mirrorflow.maps.product import Factors
from mirrorflow.maps.signed_power import SignedPower

__all__ = ["DeepFactors", "Factors", "Ham", "HyperbolicEntropy", "LogFactors", "MirrorMap"]
__all__ += ["Potential", "Powers", "SignedPower"]
