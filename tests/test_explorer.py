"""The explorer: its numbers are the solvers', its page moves, its conditions are said."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import browser
import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow.certificates import finite_time

pytest.importorskip("bokeh")
from mirrorflow.explore import Settings, state, static
from mirrorflow.explore.command import main
from mirrorflow.explore.state import SCHEDULES, problems, start_of

ROOT = Path(__file__).parents[1]
ORDER = np.argsort(-np.abs(problems()[1].x_true), kind="stable")
LOADED = """(async () => {
  while (!window.Bokeh || !Bokeh.documents.length) await new Promise(r => setTimeout(r, 20));
  return document.title; })()"""


def ask(name: str, value: object) -> str:
    """JavaScript that moves one control, and says what is then drawn and written."""
    return f"""(async () => {{
      const page = Bokeh.documents[0], one = (name) => page.get_model_by_name(name);
      const before = one("recovery").data;
      one({json.dumps(name)}).value = {json.dumps(value)};
      while (one("recovery").data === before) await new Promise(r => setTimeout(r, 10));
      await new Promise(r => setTimeout(r, 100));
      return {{flow: Array.from(one("recovery").data.flow), end: Array.from(one("ends").data.x),
               text: one("recovery_text").text, remarks: one("remarks_text").text}}; }})()"""


FETCHED = """performance.getEntriesByType("resource").map((one) => one.name)
  .filter((name) => !name.endsWith("favicon.ico"))"""
PRESS = """(async () => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap(
    (one) => [one, ...(one.shadowRoot ? all(one.shadowRoot) : [])]);
  const slider = Bokeh.documents[0].get_model_by_name("total"), before = slider.value;
  const handle = all(document).find((one) => one.classList.contains("noUi-handle"));
  handle.focus();
  handle.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
  await new Promise(r => setTimeout(r, 300));
  return [before, slider.value, handle.getAttribute("tabindex")]; })()"""


@contextlib.contextmanager
def served() -> Iterator[str]:
    words = [sys.executable, "-m", "mirrorflow", "explore", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().split()[0]
        finally:
            process.terminate()


def limit(settings: Settings) -> np.ndarray:
    _, recovery, draws, _, _ = problems()
    start = start_of(settings.depth, settings.x0 * draws, settings.beta)
    return mf.interpolator(recovery, start, settings.total).x[ORDER]


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_start_is_the_one_described(depth):
    x = np.array([-0.7, 0.0, 1e-3, 2.0])
    for beta in (0.3, 2.0):
        start = start_of(depth, x, beta)
        assert start.x == pytest.approx(x, rel=1e-12, abs=1e-15)
        assert start.theta[0] ** 2 - start.theta[-1] ** 2 == pytest.approx(np.full(4, beta))
    assert not any(start_of(depth, x, 0.0).signs[0] & start_of(depth, x, 0.0).signs[1])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("depth", [2, 3])
def test_states_are_what_the_solvers_say(schedule, depth):
    settings = Settings(total=0.8, beta=0.6, x0=-0.4, schedule=schedule, depth=depth)
    plane, recovery, draws, _, _ = problems()
    arrays = state(settings).arrays
    start = start_of(depth, np.array([-0.4, -0.2]), 0.6)
    times = np.concatenate([[0.0], np.geomspace(1e-2, 40.0, 36)])
    flow = mf.gradient_flow(plane, start, settings.alpha, times)
    assert np.array_equal(np.stack(list(arrays["path"].values()), axis=1), flow.x)
    assert float(settings.alpha.total(1e9)) == pytest.approx(0.8) or settings.endless
    if not settings.endless:
        assert np.array_equal(arrays["recovery"]["flow"], limit(settings))
    elif depth == 2:
        wide = start_of(2, -0.4 * draws, 0.6)
        found = mf.lasso_limit(recovery, wide, 0.8 / 40.0)
        assert np.array_equal(arrays["recovery"]["flow"], found.x[ORDER])
    assert finite_time(plane, start, flow, 1e-8).holds


def test_level_sets_are_level():
    settings = Settings(total=0.5, x0=0.3)
    arrays = state(settings).arrays
    potential = start_of(2, np.array([0.3, 0.15]), 1.0).potential(0.5)
    end = np.array([arrays["ends"]["x"][-1], arrays["ends"]["y"][-1]])
    line = np.stack(list(arrays["through"].values()), axis=1)
    line = line[np.isfinite(line).all(axis=1)]
    least = potential.value(potential.minimizer)
    heights = np.array([potential.value(point) - least for point in line])
    # contours of a grid of 57 points a side, linear between them
    assert heights == pytest.approx(np.full(len(line), potential.value(end) - least), rel=5e-3)


def test_steps_are_those_of_descent():
    settings = Settings(total=0.5, step=0.6, momentum=0.5)
    _, recovery, draws, _, _ = problems()
    start = mf.Factors.pilot(0.5 * draws)
    eta = 0.6 * mf.descent.stable_step_size(recovery, start)
    alphas = settings.alpha.alpha(eta * np.arange(200))
    path = mf.follow_descent(recovery, start, 0.5 * eta, 200, alphas, momentum=0.5)
    found = state(settings)
    assert np.array_equal(found.arrays["recovery"]["run"], path.x[-1][ORDER])
    assert "confirmed" in found.texts["run"]
    assert "confirmed" in found.texts["steps"]


def test_every_corner_is_finite_and_nothing_is_refuted():
    corners = itertools.product(
        (0.0, 4.0), (0.0, 0.05, 10.0), (-2.0, 0.0, 2.0), SCHEDULES[::3], (2, 4), (0, 2.0), (0, 0.95)
    )
    for corner in corners:
        settings = Settings(*corner)
        if (settings.step == 0.0 or settings.depth > 2) and settings.momentum:
            continue
        found = state(settings)
        assert np.isfinite(list(found.arrays["path"].values())).all(), settings
        assert np.isfinite(list(found.arrays["ends"].values())).all(), settings
        assert np.isfinite(found.arrays["recovery"]["flow"]).all(), settings
        assert "refuted" not in str(found.texts), (settings, found.texts)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (Settings(beta=0.0, x0=-0.5), "no x with those signs solves Zx = y"),
        (Settings(beta=0.0, x0=0.0), "a saddle that the flow never leaves"),
        (Settings(step=1.5), "1.50 times the edge of stability"),
        (Settings(step=0.5, depth=3), "Where steps lead is known at depth 2 alone"),
        (Settings(schedule=SCHEDULES[-1]), "Theorem 2.3 does not apply"),
        (Settings(momentum=0.5), "Momentum acts on steps"),
    ],
)
def test_what_is_outside_the_conditions_is_said(settings, sentence):
    texts = state(settings).texts
    assert sentence in texts["remarks"] + texts["limits"]
    inside = state(Settings()).texts
    assert not inside["remarks"] + inside["limits"]


def test_settings_are_refused_by_a_sentence():
    with pytest.raises(mf.InputError, match="beta must be"):
        Settings(beta=-1.0)
    with pytest.raises(mf.InputError, match=r"schedule must be one of .* but it is 'cosine'"):
        Settings(schedule="cosine")


def test_a_port_in_use_and_a_missing_package_are_said(capsys, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said == f"error: port must be free, but {port} is in use; name another by --port.\n"
    monkeypatch.setitem(sys.modules, "bokeh", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "bokeh" else 1)
    assert main([]) == 2
    assert "pip install 'mirrorflow[explore]'" in capsys.readouterr().err


def test_the_static_page_needs_nothing_else(tmp_path):
    settings = [Settings(), Settings(total=4.0), Settings(beta=0.0, x0=-0.5)]
    (tmp_path / "index.html").write_text(static.html(settings), encoding="utf-8")
    with browser.served(tmp_path) as address:
        asked = [LOADED, ask("total", "4"), PRESS, FETCHED]
        answers, errors = browser.visit(f"{address}/index.html", asked)
    _, moved, (before, after, tab), fetched = answers
    assert errors == fetched == []
    step = static.LARGEST / static.STEPS  # numbers are whole steps
    assert np.abs(moved["flow"] - limit(Settings(total=4.0))).max() <= step
    assert "confirmed" in moved["text"]
    assert (before, after, tab) == ("4", "4", "0")  # at the end of the slider: it stays


def test_the_server_answers_a_slider_and_a_key():
    browser.engine()
    with served() as address:
        asked = [LOADED, ask("total", 2.05), ask("step", 1.4), PRESS]
        answers, errors = browser.visit(address, asked)
    title, moved, stepped, (before, after, tab) = answers
    assert errors == []
    assert title == "mirrorflow explorer"
    assert moved["flow"] == pytest.approx(limit(Settings(total=2.05)).tolist(), abs=1e-14)
    assert "confirmed" in moved["text"]
    assert "edge of stability" in stepped["remarks"]
    assert tab == "0"
    assert after == pytest.approx(before + 0.05)


@pytest.mark.slow
def test_make_explorer_writes_a_page_that_is_small_enough(tmp_path):
    page = tmp_path / "build" / "index.html"
    subprocess.run(browser.recipe("explorer", page), cwd=ROOT, check=True, capture_output=True)
    assert 1e5 < page.stat().st_size < 5e6
