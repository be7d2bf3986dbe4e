"""Mirror maps: what is trained, x = g(θ), and the potential that it induces; one file each."""

from mirrorflow.maps.base import MirrorMap, Potential, check_pair
from mirrorflow.maps.custom import Custom
from mirrorflow.maps.entropy import HyperbolicEntropy
from mirrorflow.maps.log_factors import LogFactors
from mirrorflow.maps.product import Factors

__all__ = [
    "Custom",
    "Factors",
    "HyperbolicEntropy",
    "LogFactors",
    "MirrorMap",
    "Potential",
    "check_pair",
]
