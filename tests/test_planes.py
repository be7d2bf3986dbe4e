"""Drawings in the plane: what is drawn lies where the formulas say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

import mirrorflow as mf
from mirrorflow import plots

WINDOW = (-1.0, 2.0, -1.0, 1.5)


@pytest.fixture
def axes():
    return Figure().subplots()


@pytest.fixture
def line():
    return mf.Regression([[1.0, 2.0]], [2.0])


@pytest.fixture
def start():
    return mf.Factors.pilot([0.9, -0.4], beta=1.0)


def test_bold_level_set_goes_through_the_point_and_touches_the_line(axes, line, start):
    limit = mf.interpolator(line, start, 0.5)
    potential = mf.HyperbolicEntropy.of(start, 0.5)
    plots.level_sets(axes, potential, limit.x, WINDOW)
    contours = axes.collections[0]
    bold = int(np.argmax(contours.get_linewidths()))
    points = contours.get_paths()[bold].vertices
    spacing = 3.0 / 200
    assert np.linalg.norm(points - limit.x, axis=1).min() < spacing
    # tangent from below: the set R ≤ R(limit) stays on one side of Zx = y
    assert (points @ [1.0, 2.0]).max() == pytest.approx(2.0, abs=spacing)
    values = [potential.value(point) for point in points[::20]]
    assert np.ptp(values) < 1e-2 * (potential.value(limit.x) - potential.value(potential.minimizer))


def test_no_level_set_through_the_minimum(axes, start):
    potential = mf.HyperbolicEntropy.of(start)
    plots.level_sets(axes, potential, potential.minimizer, WINDOW)
    assert not axes.collections


def test_solution_line_solves(axes, line):
    point = np.array([0.3, -0.2])
    plots.solution_line(axes, line, WINDOW)
    plots.solution_line(axes, line, WINDOW, at=point)
    for drawn, value in zip(axes.lines, [2.0, point @ [1.0, 2.0]], strict=True):
        ends = np.array([drawn.get_xy1(), drawn.get_xy2()])
        assert ends @ [1.0, 2.0] == pytest.approx([value, value])
        assert np.ptp(ends, axis=0).max() > 0.1


def test_one_frame_for_each_time(tmp_path, line, start):
    flow = mf.gradient_flow(line, start, mf.Constant.from_total(1.0, stop=1.0), [0.0, 0.5, 2.0])
    path = plots.animate(line, start, flow, WINDOW, tmp_path / "flow.gif")
    with Image.open(path) as picture:
        assert picture.n_frames == 3
        frames = []
        for i in range(3):
            picture.seek(i)
            frames.append(np.asarray(picture.convert("RGB")).copy())
    assert all((a != b).any() for a, b in itertools.pairwise(frames))


def test_bad_input_gets_a_sentence(axes, line):
    wide = mf.HyperbolicEntropy.of(mf.Factors.pilot(np.zeros(3)))
    with pytest.raises(mf.InputError, match="potential must have 2 coordinates, but it has 3"):
        plots.level_sets(axes, wide, np.zeros(3), WINDOW)
    problem = mf.Regression([[1.0, 2.0, 0.0], [0.0, 1.0, 1.0]], [1.0, 1.0])
    with pytest.raises(mf.InputError, match="n = 1 and d = 2, not 2 and 3"):
        plots.solution_line(axes, problem, WINDOW)


def test_flows_that_stopped_where_they_started_are_no_curve():
    pandas = pytest.importorskip("pandas")
    plt = pytest.importorskip("matplotlib.pyplot")
    from mirrorflow.plots.theorem23 import trajectories

    row = {"distance_to_truth": 1.0, "schedule": "constant", "total": 1.0}
    frame = pandas.DataFrame([{**row, "key": "still"}, {**row, "key": "moving"}])
    paths = {"still/times": np.zeros(1), "still/distance": np.ones(1)}
    paths |= {"moving/times": np.arange(4.0), "moving/distance": np.ones(4)}
    figure, axes = plt.subplots()
    trajectories(axes, frame, paths)
    assert len(axes.lines) == 1
    plt.close(figure)
