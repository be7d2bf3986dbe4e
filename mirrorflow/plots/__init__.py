"""Figures from results, never from fresh runs."""

from mirrorflow.extras import require

require("mirrorflow.plots", "matplotlib")

from mirrorflow.plots.descents import initialization, regularization, schedules
from mirrorflow.plots.discrete import discrete
from mirrorflow.plots.margins import margins
from mirrorflow.plots.planes import animate, level_sets, solution_line
from mirrorflow.plots.style import MARKERS, STYLE, save
from mirrorflow.plots.theorem23 import LOOK, potentials, theorem23, trajectories, transition

__all__ = ["LOOK", "MARKERS", "STYLE", "animate", "discrete", "initialization", "level_sets"]
__all__ += ["margins"]
__all__ += ["potentials", "regularization", "save", "schedules", "solution_line", "theorem23"]
__all__ += ["trajectories", "transition"]
