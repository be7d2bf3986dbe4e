"""Integrals along the flow: the energy balance, averages and the LASSO path."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad, simpson

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow.flows.quadrature import gauss_nodes, time_average

SCHEDULES = [mf.Constant(0.0), mf.Constant(0.3, 2.0), mf.Harmonic(0.2, 1.0)]


@pytest.fixture(scope="module")
def small():
    return mf.gaussian_recovery(6, 14, 2, 0), mf.Factors.pilot(np.full(14, 0.1))


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_nodes_integrate_smooth_functions_and_jumps(schedule):
    times, weights = gauss_nodes(schedule, 0.01, [5.0])
    for function in (np.sin, lambda t: np.exp(-t), schedule.alpha):
        exact = quad(
            lambda t, f=function: float(f(t)), 0.0, 5.0, points=schedule.breakpoints or None
        )
        assert weights @ np.broadcast_to(function(times), times.size) == pytest.approx(exact[0])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("end", [0.5, 20.0, 300.0])
def test_the_drop_of_the_witness_is_what_loss_and_penalty_cost(small, schedule, end):
    problem, start = small
    x_star = mf.interpolator(problem, start, 0.0).x
    for other in (x_star, np.linspace(-1.0, 1.0, 14)):  # any point will do
        assert certify.energy_balance(problem, start, schedule, end, other).value < 1e-9
        for share in (0.0, 0.5, 2.0):
            check = certify.energy_balance(problem, start, schedule, end, other, share)
            assert check.holds == (schedule.total_infinity == 0.0)


@pytest.mark.parametrize("alpha", [0.0, 0.05])
@pytest.mark.parametrize("tau", [0.4, 2.0])
def test_the_average_is_a_lasso_point_up_to_a_gap_that_is_known(small, alpha, tau):
    problem, gaps = small[0], []
    for ell in (50.0, 200.0, 1000.0):
        start = mf.LogFactors.of_scale(14, ell)
        schedule = mf.Constant(alpha)
        check, gap = certify.lasso_of_average(problem, start, schedule, tau * ell)
        assert check.holds
        gaps.append(gap)
        for share in (0.5, 2.0):
            wrong, _ = certify.lasso_of_average(problem, start, schedule, tau * ell, share)
            assert wrong.verdict == "refuted"
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 1e-3


def test_averages_are_those_of_fine_sums(small):
    problem, start = small
    schedule = mf.Constant(0.3, 2.0)
    mean, flow = time_average(problem, start, schedule, [1.0, 2.0, 10.0])
    fine = mf.gradient_flow(problem, start, schedule, np.linspace(0.0, 10.0, 20_001), 1e-10)
    for at, end in zip(mean, flow.times, strict=True):
        some = fine.x[fine.times <= end + 1e-12]
        expected = simpson(some, dx=10.0 / 20_000, axis=0)
        assert np.abs(at - expected / end).max() < 1e-6
    assert flow.x[-1] == pytest.approx(fine.x[-1], abs=1e-7)


def test_bad_input(small):
    problem, start = small
    with pytest.raises(mf.InputError, match="times must be above 0"):
        time_average(problem, start, mf.Constant(0.0), [0.0, 1.0])
    with pytest.raises(mf.InputError, match="start must have one scale a below 1"):
        certify.lasso_of_average(problem, mf.Factors.pilot(np.ones(14), 9.0), mf.Constant(0.0), 1.0)
