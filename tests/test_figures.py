"""Figures in print: text of at least 7 points, inside the figure, labels apart, at both widths."""

from __future__ import annotations

import itertools
import re
from functools import partial
from pathlib import Path

import numpy as np
import pandas
import pytest
from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.text import Text
from PIL import Image

import mirrorflow as mf
from benchmarks import collapse
from benchmarks import plots as benchmark
from gpu_bench.methods import METHODS as KNOWN
from gpu_bench.report import drawing, one_shot
from gpu_bench.report.lines import lines
from mirrorflow import plots
from mirrorflow.colours import METHODS, PALETTE, QUANTITIES, SCHEDULES
from mirrorflow.sweep import __main__ as cli

FIGURES = Path(__file__).parent.parent / "figures"
SMALL = ["--n", "8", "--d", "20", "--k", "2", "--seeds", "2", "--jobs", "1"]
STUDIES = {  # small, with paths
    "theorem23": ["--problem", "gaussian", *SMALL, "--totals", "0", "0.5", "2"],
    "saddles": ["--n", "8", "--d", "20", "--k", "2", "--jobs", "1"],
    "initialization": [*SMALL, "--steps", "4000"],
    "schedules": [*SMALL, "--steps", "4000"],
}


def rows(name: str) -> pandas.DataFrame:
    return pandas.read_parquet(FIGURES / f"{name}_rows.parquet")


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Result folders of small studies, each made when it is asked for."""
    made: dict[str, tuple] = {}

    def of(name: str) -> tuple:
        if name not in made:
            out = tmp_path_factory.mktemp(name)
            assert cli.main([name, *STUDIES[name], "--out", str(out)]) in (0, 3)
            with np.load(out / "paths.npz") as arrays:
                paths = dict(arrays)
            made[name] = pandas.read_parquet(out / "rows.parquet"), paths
        return made[name]

    return of


DRAWINGS = {
    "depth": lambda of, width: plots.depth(rows("depth"), width),
    "discrete": lambda of, width: plots.discrete(rows("discrete"), width),
    "margins": lambda of, width: plots.margins(rows("margins"), width),
    "theorem23": lambda of, width: plots.theorem23(*of("theorem23"), 1.0, width),
    "saddles": lambda of, width: plots.saddles(*of("saddles"), width),
    "initialization": lambda of, width: plots.initialization(*of("initialization"), width),
    "regularization": lambda of, width: plots.regularization(*of("schedules"), width),
    "schedules": lambda of, width: plots.schedules(*of("schedules"), width),
    "one_shot": lambda of, width: _one_shot(width),
}
PAGES = {
    "benchmark_rivals": lambda: benchmark.rivals(rows("benchmark")),
    "benchmark_growth": lambda: benchmark.growth(rows("benchmark")),
    "total_decay": lambda: collapse.curves(rows("total_decay")),
    "total_decay_lag": lambda: collapse.lag(rows("total_decay")),
    "slide": lambda: plots.slide(
        mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.0, 0.0], 4.0), [0.0, 0.5, 1.0, 2.0]
    ),
}


def _one_shot(width: str, name: str = "one_shot"):
    frame = rows(name)
    good = frame[frame["status"] == "completed"]
    return drawing.accuracy(lines(good), "after one cut", one_shot._setting(good), width)


def check_print(figure, width: float) -> None:
    """Size, type, place and distance of every text that is seen."""
    assert figure.get_figwidth() == width
    figure.set_dpi(100)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    whole, captions = figure.bbox, [figure._supxlabel]
    for text in texts(figure):
        words, box = text.get_text(), text.get_window_extent(renderer)
        assert text.get_fontsize() >= 7.0, words
        assert box.x0 >= whole.x0 - 1, words
        assert box.x1 <= whole.x1 + 1, words
        assert box.y0 >= whole.y0 - 1, words
        assert box.y1 <= whole.y1 + 1, words
        # letters of formulas are set as formulas
        assert text in captions or not re.search("[‖ℓ₀₁₂∫Σ²ᵀ⊙∞]", words), words
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            boxes = [label.get_window_extent(renderer) for label in seen(axis)]
            for a, b in itertools.combinations(boxes, 2):
                assert not a.overlaps(b), (axes.get_title(loc="left"), axis.axis_name)


def seen(axis) -> list[Text]:
    """The tick labels of an axis, without those beyond its ends."""
    low, high = sorted(axis.get_view_interval())
    ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
    inside = [tick.label1 for tick in ticks if low <= tick.get_loc() <= high]
    return [label for label in inside if label.get_visible() and label.get_text()]


def texts(figure) -> list[Text]:
    """Every text that is seen."""
    found = [*figure.texts, figure._supxlabel]
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    found += [text for legend in legends if legend for text in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.title, axes._left_title, *axes.texts, *seen(axes.xaxis), *seen(axes.yaxis)]
        found += [axes.xaxis.label, axes.yaxis.label]
    return [text for text in found if text.get_visible() and text.get_text().strip()]


@pytest.mark.parametrize("width", plots.WIDTHS)
@pytest.mark.parametrize("name", DRAWINGS)
def test_figures_can_be_printed(name, width, folders):
    figure = DRAWINGS[name](folders, width)
    check_print(figure, plots.WIDTHS[width])
    assert len(figure.get_supxlabel().split()) > 15  # the setting


@pytest.mark.parametrize("name", PAGES)
def test_figures_of_a_page_can_be_printed(name):
    figure = PAGES[name]()
    check_print(figure, plots.WIDTHS["page"])
    assert len(figure.get_supxlabel().split()) > 15


STILL = {name: draw for name, draw in PAGES.items() if "benchmark" not in name}  # not published
ROWS_ALONE = ("depth", "discrete", "margins", "one_shot")
STILL |= {name: partial(DRAWINGS[name], None, "page") for name in ROWS_ALONE}
STILL["cifar10"] = partial(_one_shot, "page", "cifar10")


@pytest.mark.parametrize("name", STILL)
def test_committed_figures_are_those_of_today(name):
    """Size and caption; pixels depend on fonts and versions."""
    figure = STILL[name]()
    with Image.open(FIGURES / f"{name}.png") as picture:
        assert picture.text["Description"] == " ".join(figure.get_supxlabel().split())
        inches = np.array([figure.get_figwidth(), figure.get_figheight()])
        assert np.abs(picture.size - 200 * inches).max() <= 1.0


def test_each_point_of_the_benchmark_has_a_letter_of_its_own():
    figure, frame = PAGES["benchmark_rivals"](), rows("benchmark")
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    frame = frame[frame["status"].eq("measured")]
    named = dict(part.split("\u00a0", 1) for part in re.split("; |float64. ", line(figure))[2:])
    for axes, case in zip(figure.axes, benchmark.CASES, strict=True):
        entries = frame.loc[frame["case"].eq(case), "entry"]
        assert [named[text.get_text()] for text in axes.texts] == list(entries)
        boxes = [text.get_window_extent(renderer) for text in axes.texts]
        for a, b in itertools.combinations(boxes, 2):
            assert not a.overlaps(b), case


def line(figure) -> str:
    """The caption in one line."""
    text = figure.get_supxlabel().replace("\n", " ")
    return text.replace("\u00a0×\u00a0", " × ").removesuffix(".")


def test_unknown_widths_are_refused_by_a_sentence():
    with pytest.raises(mf.InputError, match="width must be one of column, page, but it is 'wide'"):
        plots.depth(rows("depth"), "wide")


def test_no_axis_is_reversed_without_a_word(folders):
    for name in DRAWINGS:
        for axes in DRAWINGS[name](folders, "page").axes:
            reverse = axes.xaxis_inverted() or axes.yaxis_inverted()
            assert not reverse or "right" in axes.get_xlabel(), name


def test_ranges_of_accuracies_are_accuracies():
    (axes,) = _one_shot("page").axes
    bands = [band for band in axes.collections if isinstance(band, PolyCollection)]
    assert bands
    drawn = [path.vertices[:, 1] for band in bands for path in band.get_paths()]
    drawn += [points.get_offsets()[:, 1] for points in axes.collections]  # (0, 0) for a band
    for heights in drawn:
        assert heights.min() >= 0.0
        assert heights.max() <= 100.0


def test_one_colour_for_each_method_and_quantity():
    for table in (METHODS, SCHEDULES, QUANTITIES):
        assert len(set(table.values())) == len(table)
    assert len(set(PALETTE)) == len(PALETTE)
    assert {name: kind.look.colour for name, kind in KNOWN.items()} == METHODS


def test_results_draw_themselves_on_any_axes():
    problem, start = mf.Regression([[1.0, 2.0]], [2.0]), mf.Factors.pilot([0.5, 0.0])
    flow = mf.gradient_flow(problem, start, mf.Constant(0.0), [0.0, 1.0, 10.0, np.inf])
    path = mf.follow_descent(problem, start, 0.05, 40)
    limit = mf.interpolator(problem, start, 1.0)
    for result, x in ((flow, flow.x[:-1]), (path, path.x), (limit, None)):
        _, axes = plt.subplots()
        assert result.plot(axes) is axes
        if x is not None:
            drawn = np.array([line.get_ydata() for line in axes.lines[: x.shape[1]]])
            assert np.array_equal(drawn.T, x)
        assert result.plot() is not axes
        assert axes.get_xlabel()
    plt.close("all")
    with pytest.raises(mf.InputError, match="must have an x to draw, but float has none"):
        plots.draw(1.0)
