"""Figures from results, never from fresh runs."""

from mirrorflow.extras import require

require("mirrorflow.plots", "matplotlib")

from mirrorflow.plots.descents import initialization, regularization, schedules
from mirrorflow.plots.planes import animate, level_sets, solution_line
from mirrorflow.plots.style import MARKERS, STYLE, save
from mirrorflow.plots.theorem23 import LOOK, potentials, theorem23, trajectories, transition

__all__ = ["LOOK", "MARKERS", "STYLE", "animate", "initialization", "level_sets", "potentials"]
__all__ += ["regularization", "save", "schedules", "solution_line", "theorem23", "trajectories"]
__all__ += ["transition"]
