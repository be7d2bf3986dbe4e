"""The flags of each protocol; nothing here loads torch."""

from gpu_bench.settings.base import Setting
from gpu_bench.settings.cyclic import Cyclic
from gpu_bench.settings.iterative import Iterative
from gpu_bench.settings.one_shot import OneShot
from gpu_bench.settings.sculpt import Sculpt
from gpu_bench.settings.target import Target
from gpu_bench.settings.tune import Tune

__all__ = ["Cyclic", "Iterative", "OneShot", "Sculpt", "Setting", "Target", "Tune"]
