"""Distances to minimum L1: constants and exponents of 40 digits, bounds without uniqueness."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mirrorflow as mf
from mirrorflow import certificates as certify

CASES = json.loads((Path(__file__).parent / "data/atlas_flow_cases.json").read_text("utf-8"))


def floats(words):
    return np.array([float(Fraction(word)) for word in words])


def case(name):
    Z = np.array([floats(row) for row in CASES[name]["Z"]])
    return CASES[name], mf.Regression(Z, Z[:, 0])


def shallow(given):
    c = floats(given["c"])
    return mf.LogFactors(c - math.log(2.0), -c - math.log(2.0))  # a = 1: A is ¼ log(1/a)


def deep(alpha, depth, d=6):
    return mf.Powers(np.full(d, alpha), np.full(d, alpha), depth)


def test_constant_and_exponent_of_m_w():
    """C13: the ratio of the distance to the law is 1 to some e^{−4A·order}."""
    given, problem = case("C13_sharp_late_L1")
    law = mf.l1_distance(problem, shallow(given), 0.0)
    assert law.exponent == pytest.approx(4.0 * float(given["margin"]), rel=1e-13)
    theta = float(given["theta"])
    constant = np.zeros(6)
    constant[0], constant[given["J"]] = theta * float(given["delta"]), theta * floats(given["xi"])
    assert law.constant == pytest.approx(constant, rel=1e-12, abs=1e-13)
    for row in given["rows"][:3]:
        total, x = 0.25 * row["log1/a"], floats(row["x"])
        law = mf.l1_distance(problem, shallow(given), total)
        at_j = np.array(given["J"])
        off = np.abs(x[at_j] / law.x[at_j] - 1.0).max()
        assert off < 10.0 * math.exp(-law.order * total)
        excess = float(row["L1_excess_over_prediction"])
        measured = np.abs(x).sum() - 1.0
        assert measured / law.excess == pytest.approx(excess, abs=1e-15 / measured + 1e-12)
    # half the exponent, as in the case's wrong value
    assert math.exp(-0.5 * law.exponent * total) > 100.0 * law.distance


@pytest.mark.parametrize("depth", [3, 4])
def test_constant_at_depth(depth):
    """C14: the columns off the support in units of α^L, and the error O(α^{L−2})."""
    given, problem = case(f"C14_sharp_depth{depth}")
    for row in given["rows"]:
        alpha = float(row["alpha"])
        law = mf.l1_distance(problem, deep(alpha, depth), 0.0)
        units = law.constant / alpha**depth
        assert units[1:] == pytest.approx(floats(given["off_limit"]), rel=1e-12)
        assert units[0] == pytest.approx(float(given["delta"]), rel=1e-12)
        off = np.abs(floats(row["(x-xhat)/alpha^L"]) / units - 1.0).max()
        assert off < 10.0 * alpha ** (depth - 2)
    shift = 0.5 * math.log(2.0)  # decay A is a start e^{−2A} as large
    half = mf.l1_distance(problem, deep(0.5 * alpha, depth), 0.0)
    assert mf.l1_distance(problem, deep(alpha, depth), shift).distance == pytest.approx(
        half.distance, rel=1e-12
    )


@pytest.mark.parametrize("seed", [3, 4, 6])
@pytest.mark.parametrize("start", ["Factors", "LogFactors", 2, 3, 4])
def test_limits_follow_their_law(seed, start):
    problem = mf.gaussian_recovery(8, 14, 3, seed)
    if start == "Factors":
        rng = np.random.default_rng(seed)
        start = mf.Factors.pilot(0.3 * rng.standard_normal(14), 0.7)
    else:
        log = start == "LogFactors"
        start = mf.LogFactors.of_scale(14, 1.0) if log else deep(0.6, start, 14)
    check = certify.sharp_l1(problem, start)
    assert check.holds
    for share in (0.5, 0.9, 1.1, 2.0):
        assert certify.sharp_l1(problem, start, share).verdict == "refuted"


def duplicated(seed):
    half = np.random.default_rng(seed).standard_normal((6, 12))
    return mf.Regression(np.hstack([half, half]), half[:, 0] - 0.5 * half[:, 4])


def starts(d):
    rng = np.random.default_rng(1)
    yield mf.Factors.pilot(0.5 * rng.standard_normal(d), 2.0)
    yield mf.Factors.pilot(np.zeros(d), 0.3)
    yield mf.LogFactors.of_scale(d, 3.0)
    yield from (deep(0.5, depth, d) for depth in (3, 4, 5))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("total", [0.1, 1.0, 2.0])
def test_the_excess_is_bounded_without_uniqueness(seed, total):
    """Columns twice: minimum L1 is a segment; the old law said nothing here."""
    problem = duplicated(seed)
    best = mf.min_l1(problem)
    assert certify.margin(problem, best.x) < 1e-9
    for start in starts(24):
        limit = mf.interpolator(problem, start, total)
        check = certify.l1_excess(limit, best, total)
        assert check.holds
        assert not mf.l1_distance(problem, mf.Factors.pilot(np.zeros(24)), total).success
        other = mf.interpolator(problem, start, 0.5 * total)
        loose = certify.l1_excess(other, best, total)  # another A's limit has more
        assert loose.value > check.value


def test_bounds_flip_where_they_are_tight():
    """C13, C14: the printed factors 4A and ½L; twice the first and half the second are refuted."""
    given, problem = case("C13_sharp_late_L1")
    best, total = mf.min_l1(problem), 5.0
    limit = mf.interpolator(problem, shallow(given), total)
    check = certify.l1_excess(limit, best, total)
    assert check.holds
    assert check.value > 0.75 * check.bound
    assert certify.l1_excess(limit, best, total, share=0.5).verdict == "refuted"
    limit = mf.interpolator(problem, deep(0.01, 3), 0.0)
    check = certify.l1_excess(limit, best, 0.0)
    assert check.value == pytest.approx(1.55e-5, rel=0.01)
    assert check.bound == pytest.approx(2.55e-5, rel=0.01)
    half = certify.l1_excess(limit, best, 0.0, share=0.5)
    assert half.bound < check.value
    endless = mf.interpolator(problem, mf.Factors.pilot(np.zeros(6)), np.inf)
    assert certify.l1_excess(endless, best, np.inf).holds
    assert not certify.l1_excess(limit, best, np.inf).holds
    assert certify.l1_excess(limit, best, np.inf).name == "l1_at_infinity"


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**16), power=st.floats(-6.0, -1.0), depth=st.sampled_from([2, 3, 4]))
def test_the_total_needed_is_the_total_needed(seed, power, depth):
    problem = mf.gaussian_recovery(6, 15, 2, seed)
    start = mf.Factors.pilot(np.zeros(15), 2.0) if depth == 2 else deep(0.7, depth, 15)
    excess = 10.0**power
    total = mf.total_for_l1(problem, start, excess)
    least = np.abs(mf.interpolator(problem, mf.Factors.pilot(np.zeros(15)), np.inf).x).sum()
    limit = mf.interpolator(problem, start, total)
    # brentq's 1e-9 in A, and rounding of norms
    assert np.sum(limit.p + limit.q) / least - 1.0 == pytest.approx(excess, rel=1e-6, abs=1e-13)
    if total > 0.01:
        before = mf.interpolator(problem, start, 0.9 * total)
        assert np.sum(before.p + before.q) / least - 1.0 > excess


def test_laws_that_fail_say_why():
    _, problem = case("C13_sharp_late_L1")
    locked = mf.Factors(np.ones(6), -np.ones(6))
    degenerate = mf.Regression(np.hstack([problem.Z, problem.Z[:, 1:2]]), problem.y)
    for one, start, words in (
        (problem, locked, "a sign is locked"),
        (degenerate, mf.Factors.pilot(np.zeros(7)), "degenerate: 4 tight columns, not 3"),
        (duplicated(0), mf.Factors.pilot(np.zeros(24)), "not unique"),
    ):
        law = mf.l1_distance(one, start, 1.0)
        assert law.status == "outside"
        assert words in law.message
        assert math.isnan(law.distance)
        assert certify.sharp_l1(one, start).verdict == "can't be judged"
    assert not mf.l1_distance(duplicated(0), deep(0.5, 3, 24), 1.0).success
    with pytest.raises(mf.InputError, match="start must have all u = v"):
        mf.l1_distance(problem, mf.Powers(np.full(6, 0.5), np.full(6, 0.4), 3), 1.0)
    with pytest.raises(mf.InputError, match="start must be Factors or Powers"):
        mf.l1_distance(problem, mf.SignedPower(np.ones(6), 3.0), 1.0)
    with pytest.raises(mf.InputError, match=r"excess must be .*at least 1e-09"):
        mf.total_for_l1(problem, locked, 0.0)
    with pytest.raises(mf.InputError, match="excess must be one that decay reaches"):
        mf.total_for_l1(problem, mf.Factors(-np.eye(6)[0], np.ones(6)), 1e-8)
    with pytest.raises(mf.InputError, match="excess can't be told at A = 0: Balanced"):
        mf.total_for_l1(problem, locked, 1e-8)
