"""Figures from results, never from fresh runs."""

from mirrorflow.extras import require

require("mirrorflow.plots", "matplotlib")

from mirrorflow.plots.depth import depth
from mirrorflow.plots.descents import initialization, regularization, schedules
from mirrorflow.plots.discrete import discrete
from mirrorflow.plots.margins import margins
from mirrorflow.plots.planes import animate, level_sets, solution_line
from mirrorflow.plots.results import draw
from mirrorflow.plots.saddles import saddles
from mirrorflow.plots.slide import slide
from mirrorflow.plots.style import MARKERS, STYLE, WIDTHS, save
from mirrorflow.plots.theorem23 import LOOK, potentials, theorem23, trajectories, transition

__all__ = ["LOOK", "MARKERS", "STYLE", "WIDTHS", "animate", "depth", "discrete"]
__all__ += ["draw", "initialization"]
__all__ += ["level_sets", "margins", "potentials", "regularization", "saddles", "save"]
__all__ += ["schedules", "slide", "solution_line", "theorem23", "trajectories", "transition"]
