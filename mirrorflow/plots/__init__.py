"""Figures from results, never from fresh runs."""

from mirrorflow.plots.descents import initialization, regularization, schedules
from mirrorflow.plots.style import STYLE, save
from mirrorflow.plots.theorem23 import LOOK, potentials, theorem23, trajectories, transition

__all__ = [
    "LOOK",
    "STYLE",
    "initialization",
    "potentials",
    "regularization",
    "save",
    "schedules",
    "theorem23",
    "trajectories",
    "transition",
]
