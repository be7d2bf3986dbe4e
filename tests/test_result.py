"""Results: tables, files without pickle, and errors where they are asked for."""

from __future__ import annotations

import dataclasses
import functools
import json

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow.display import KINDS
from mirrorflow.result import ABOUT

ZERO = np.zeros(6)


@functools.cache
def results():
    problem = mf.gaussian_recovery(n=3, d=6, k=1, seed=0)
    labels = mf.Regression(problem.Z, np.sign(problem.y), loss=mf.Logistic())
    factors, schedule = mf.Factors.pilot(ZERO), mf.Constant(0.01)
    powers = mf.Powers(ZERO + 0.5, ZERO + 0.5, 3)
    deep = mf.DeepFactors(np.linspace(0.3, 0.9, 18).reshape(3, 6))
    runs = mf.descend(problem, [factors] * 2, schedule, 0.01, 20)
    return {
        "flow": mf.gradient_flow(problem, factors, schedule, [0.0, 1.0]),
        "powers": mf.gradient_flow(problem, powers, schedule, [0.0, 1.0]),
        "deep": mf.direct_flow(problem, deep, schedule, [0.0, 1.0]),
        "signed": mf.direct_flow(problem, mf.SignedPower(ZERO + 0.4, 2.5), schedule, [0.0, 1.0]),
        "limit": mf.interpolator(problem, factors, 1.0),
        "law": mf.l1_distance(problem, factors, 2.0),
        "margin": mf.max_margin(labels, factors, 0.0),
        "margins": mf.margin_flow(labels, factors, [0.0, 10.0]),
        "saddles": mf.saddle_path(problem),
        "momentum": mf.momentum_flow(problem, factors, schedule, 0.1, [0.0, 1.0]),
        "path": mf.follow_descent(problem, factors, 0.01, 20),
        "descents": runs,
        "reference": mf.min_l1(problem),
    }


NAMES = ["flow", "powers", "deep", "signed", "limit", "law", "margin", "margins", "saddles"]
NAMES += ["momentum", "path", "descents", "reference"]


def same(one, other):
    if dataclasses.is_dataclass(one):
        assert type(one) is type(other)
        for field in dataclasses.fields(one):
            same(getattr(one, field.name), getattr(other, field.name))
    else:
        np.testing.assert_array_equal(one, other)


def test_every_result_class_is_tried():
    tried = {type(result) for result in results().values()}
    assert {kind for kind in KINDS.values() if issubclass(kind, mf.Result)} == {*tried, mf.Result}
    assert list(results()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_file_gives_back_every_bit(name, tmp_path):
    result = results()[name]
    result.save(tmp_path / "result.npz")
    same(result, type(result).load(tmp_path / "result.npz"))
    same(result, mf.Result.load(tmp_path / "result.npz"))


@pytest.mark.parametrize("name", NAMES)
def test_a_table_has_a_row_for_each_entry_and_all_of_x(name):
    result, frame = results()[name], results()[name].to_frame()
    first = np.size(getattr(result, result.table[0]))
    columns = [column for column in frame if column.partition("_")[0] == "x"]
    if name == "descents":
        assert len(frame) == first * len(result.x)
        np.testing.assert_array_equal(frame[columns], result.x.reshape(-1, 6))
        assert list(frame["run"].unique()) == [0, 1]
    else:
        assert len(frame) == first
        x = result.x if np.ndim(result.x) == 2 else result.x[:, None]
        np.testing.assert_array_equal(frame[columns], x)


def test_success_returns_the_result_and_failure_raises_its_sentence():
    flow = results()["flow"]
    assert flow.raise_if_failed() is flow
    failed = dataclasses.replace(flow, status="failed", message="It stopped at t = 0.5.")
    with pytest.raises(mf.ResultError, match=r"Flow failed: It stopped at t = 0\.5\."):
        failed.raise_if_failed()


def test_other_classes_and_strangers_are_refused_by_name(tmp_path):
    place = tmp_path / "limit.npz"
    results()["limit"].save(place)
    with pytest.raises(mf.InputError, match=r"limit\.npz: it must hold a Flow, but it holds a Int"):
        mf.Flow.load(place)
    held = dict(np.load(place))
    for about in (
        "{",
        "3",
        '{"kind": "Factors"}',
        '{"kind": "Path", "parts": {}}',
        json.dumps({"kind": "Factors", "parts": {"m": {"array": "none"}, "w": {"array": "x"}}}),
    ):
        np.savez(place, **(held | {ABOUT: np.array([about])}))
        with pytest.raises(mf.InputError, match=r"limit\.npz: it must "):
            mf.Interpolator.load(place)
    np.savez(place, x=np.zeros(2))
    with pytest.raises(mf.InputError, match=rf"must hold {ABOUT}"):
        mf.Interpolator.load(place)
    np.savez(place, **(held | {"x": np.array([object()])}))
    with pytest.raises(mf.InputError, match=r"x in .* must hold real numbers"):
        mf.Interpolator.load(place)


def test_a_start_of_ones_own_functions_is_refused(tmp_path):
    problem = mf.Regression([[1.0, 2.0]], [2.0])
    start = mf.Custom(lambda theta: theta[0] * theta[1], np.ones((2, 2)))
    flow = mf.direct_flow(problem, start, mf.Constant(0.0), [0.0, 1.0])
    with pytest.raises(mf.InputError, match="start is a Custom"):
        flow.save(tmp_path / "flow.npz")
    assert not list(tmp_path.iterdir())
