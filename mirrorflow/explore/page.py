"""Page of the explorer: its controls and panels in Bokeh, and what a state sets in them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource
from bokeh.models.layouts import Column
from bokeh.models.widgets.inputs import Select
from bokeh.models.widgets.markups import Div
from bokeh.models.widgets.sliders import CategoricalSlider, Slider
from bokeh.plotting import figure

from mirrorflow.colours import QUANTITIES, SOFT
from mirrorflow.explore.state import POSITIONS, SCHEDULES, WINDOW, Settings, State, problems, state

__all__ = ["GRID", "Page"]

# of each setting: title, ends and step of its slider, and the values of the static page
GRID: dict[str, tuple[str, tuple[float, float, float], tuple[float, ...]]] = {
    "total": ("total decay A", (0.0, 4.0, 0.05), (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)),
    "beta": ("β = m₀² − w₀² (0: balanced)", (0.0, 4.0, 0.05), (0.0, 0.1, 1.0, 4.0)),
    "x0": ("start x₀, scale", (-1.0, 1.0, 0.05), (-0.5, 0.0, 0.5)),
    "depth": ("depth L", (2, 4, 1), (2, 3, 4)),
    "step": ("step η, in 2/λmax (0: flow)", (0.0, 1.5, 0.05), (0.0, 0.25, 0.75, 1.25)),
    "momentum": ("momentum μ", (0.0, 0.95, 0.05), (0.0, 0.9)),
}
ABOUT = """<h1>The implicit bias of x = m ⊙ w, live</h1>
<p>Gradient flow with weight decay α(t) ends at argmin {R<sub>A</sub>(x) : Zx = y}, A = ∫α:
near the least L2 norm for a small A and a large β, near the least L1 norm for a large A.
Left R<sub>A</sub> of a coordinate, in the middle one sample in the plane, right 40 samples of
100 features, of which five count. Sliders move by mouse or arrow keys.</p>"""


class Page:
    """Controls, panels and sentences of one visitor.

    Parameters
    ----------
    coarse : bool
        Whether the controls have the values of `GRID` alone.
    """

    def __init__(self, coarse: bool) -> None:
        self.controls = {one.name: _control(one.name, coarse) for one in fields(Settings)}
        first = state(Settings())
        self.sources = {
            name: ColumnDataSource(columns, name=name) for name, columns in first.arrays.items()
        }
        self.texts = {name: Div(name=f"{name}_text", width=360) for name in first.texts}
        self.texts["remarks"].width = self.texts["limits"].width = 1100
        self.show(first)
        panels = [
            column(_profile(self.sources), self.texts["profile"]),
            column(_plane(self.sources), self.texts["plane"], self.texts["steps"]),
            column(_recovery(self.sources), self.texts["recovery"], self.texts["run"]),
        ]
        wraps = {"flex-wrap": "wrap"}
        self.layout: Column = column(
            Div(text=ABOUT, width=1100),
            row(*self.controls.values(), styles=wraps),
            self.texts["remarks"],
            self.texts["limits"],
            row(*panels, styles=wraps),
        )

    def show(self, new: State) -> None:
        """Put a state into sources and sentences."""
        for name, columns in new.arrays.items():
            self.sources[name].data = columns
        for name, text in new.texts.items():
            self.texts[name].text = f'<p role="status">{text}</p>'

    @property
    def settings(self) -> Settings:
        """Where the controls stand."""
        return Settings(**{name: control.value for name, control in self.controls.items()})


def _control(name: str, coarse: bool) -> Any:
    default = getattr(Settings(), name)
    if name == "schedule":
        names: Any = list(SCHEDULES)
        return Select(title="schedule α(t)", value=default, options=names, name=name, width=265)
    title, (start, end, step), values = GRID[name]
    if coarse:
        labels = [f"{value:g}" for value in values]
        return CategoricalSlider(
            categories=labels, value=f"{default:g}", title=title, name=name, width=265
        )
    return Slider(start=start, end=end, step=step, value=default, title=title, name=name, width=265)


def _panel(title: str, across: str, up: str, **ranges: Any) -> Any:
    panel: Any = figure(
        title=title, x_axis_label=across, y_axis_label=up, width=372, height=372, tools="", **ranges
    )
    panel.toolbar_location = None
    panel.title.text_font_size = "11pt"
    return panel


def _legend(panel: Any, location: str) -> None:
    panel.legend.location = location
    panel.legend.label_text_font_size = "9pt"
    panel.legend.padding = panel.legend.spacing = 2
    panel.legend.background_fill_alpha = 0.7
    panel.legend.border_line_color = None


def _profile(sources: dict[str, ColumnDataSource]) -> Any:
    panel = _panel("R of a coordinate", "x − argmin R", "R, scaled", y_range=(-0.05, 1.6))
    grid = np.linspace(-1.0, 1.0, 41)
    panel.line(
        grid, np.abs(grid), color=QUANTITIES["l1"], line_dash="dotted", line_width=2,
        legend_label="|x|",
    )  # fmt: skip
    panel.line(
        grid, grid**2, color=QUANTITIES["l2"], line_dash="dashed", line_width=2, legend_label="x²"
    )
    look = {"color": QUANTITIES["potential"], "line_width": 3, "source": sources["profile"]}
    panel.line("at", "first", legend_label="R of x₁", **look)
    panel.line("at", "second", line_dash="dashdot", legend_label="R of x₂", **look)
    _legend(panel, "top_center")
    return panel


def _plane(sources: dict[str, ColumnDataSource]) -> Any:
    left, right, bottom, top = WINDOW
    panel = _panel("Zx = y: x₁ + 2x₂ = 2", "x₁", "x₂", x_range=(left, right), y_range=(bottom, top))
    look: dict[str, Any] = {"color": QUANTITIES["potential"], "legend_label": "level sets of R"}
    panel.line("x", "y", source=sources["levels"], line_width=1, **look)
    panel.line("x", "y", source=sources["through"], line_width=2.5, **look)
    ends = np.array([left, right])
    panel.line(ends, 1.0 - 0.5 * ends, color="#000000", line_width=2, legend_label="Zx = y")
    look = {"color": QUANTITIES["flow"], "legend_label": "flow"}
    panel.line("x", "y", source=sources["path"], line_width=2.5, **look)
    panel.scatter("x", "y", source=sources["ends"], size=8, **look)
    look = {"color": QUANTITIES["steps"], "source": sources["run"], "legend_label": "steps"}
    panel.line("x", "y", **look)
    panel.scatter("x", "y", size=4, **look)
    for x, y, name in ((0.0, 1.0, "l1"), (0.4, 0.8, "l2")):
        marks = {"line_color": QUANTITIES[name], "legend_label": f"least {name.upper()}"}
        panel.scatter([x], [y], marker="square", size=9, fill_color=None, line_width=2, **marks)
    _legend(panel, "bottom_left")
    return panel


def _recovery(sources: dict[str, ColumnDataSource]) -> Any:
    truth = problems()[1].x_true
    assert truth is not None
    panel = _panel(
        "40 samples, 100 features", "coordinate, the five of x* first", "x", y_range=(-1.6, 1.6)
    )
    panel.xaxis.ticker = []
    look = {"marker": "square", "size": 10, "fill_color": None, "line_color": SOFT}
    sizes = truth[np.argsort(-np.abs(truth), kind="stable")[:5]]
    panel.scatter(POSITIONS[:5], sizes, legend_label="x*", **look)
    look = {"source": sources["recovery"], "size": 5}
    panel.scatter("at", "flow", color=QUANTITIES["flow"], legend_label="limit of the flow", **look)
    panel.scatter(
        "at", "run", marker="x", color=QUANTITIES["steps"], legend_label="after 200 steps", **look
    )
    _legend(panel, "top_right")
    return panel
