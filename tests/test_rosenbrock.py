"""Rodas5P: order, stiffness, output times, failure."""

from __future__ import annotations

import numpy as np
import pytest

from mirrorflow.flows.rosenbrock import C_ROWS, Counts, StepLimit, _step, integrate


class Pendulum:
    """A non-autonomous, non-linear test system: y₀' = y₁, y₁' = −sin y₀ + cos 3t."""

    rtol = 1e-8

    def derivative(self, t, y):
        return np.array([y[1], -np.sin(y[0]) + np.cos(3 * t)])

    def time_derivative(self, t, y):
        return np.array([0.0, -3 * np.sin(3 * t)])

    def solver(self, t, y, shift):
        jacobian = np.array([[0.0, 1.0], [-np.cos(y[0]), 0.0]])
        return lambda b: np.linalg.solve(shift * np.eye(2) - jacobian, b)

    def error(self, increment, y):
        return float(np.abs(increment).max()) / self.rtol


class Fast(Pendulum):
    """Prothero and Robinson: y' = −10⁶(y − cos t) − sin t, whose solution is cos t."""

    def derivative(self, t, y):
        return -1e6 * (y - np.cos(t)) - np.sin(t)

    def time_derivative(self, t, y):
        return np.array([-1e6 * np.sin(t) - np.cos(t)])

    def solver(self, t, y, shift):
        return lambda b: b / (shift + 1e6)


def fixed(system, y, h, steps):
    for i in range(steps):
        y, _ = _step(system, i * h, y, h)
    return y


def test_order_is_five():
    """Regression of log-error on log-step: the coefficients are right only if it is 5."""
    system, start = Pendulum(), np.array([1.0, 0.5])
    best = fixed(system, start, 1 / 640, 640)
    steps = np.array([10, 14, 20, 28, 40])
    errors = [np.abs(fixed(system, start, 1 / n, n) - best).max() for n in steps]
    slope = -np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert 4.7 < slope < 5.6


def test_a_wrong_coefficient_costs_the_order():
    system, start = Pendulum(), np.array([1.0, 0.5])
    kept = C_ROWS[4][0]
    try:
        C_ROWS[4][0] = kept * (1 + 1e-4)
        best = fixed(system, start, 1 / 640, 640)
        errors = [np.abs(fixed(system, start, 1 / n, n) - best).max() for n in (10, 40)]
    finally:
        C_ROWS[4][0] = kept
    assert np.log(errors[0] / errors[1]) / np.log(4) < 4


def test_stiff_problem_takes_few_steps():
    counts = Counts()
    times = np.array([0.0, 10.0])
    (end,) = integrate(Fast(), np.array([1.0]), times, counts)
    assert abs(end[0] - np.cos(10.0)) < 1e-6
    assert counts.steps < 300  # an explicit method needs 10⁷


def test_every_output_time_is_hit():
    times = np.array([0.0, 1e-9, 0.3, 0.31, 5.0])
    points = list(integrate(Pendulum(), np.array([1.0, 0.5]), times, Counts()))
    alone = list(integrate(Pendulum(), np.array([1.0, 0.5]), times[[0, 4]], Counts()))
    assert len(points) == 4
    assert np.abs(points[-1] - alone[-1]).max() < 1e-6


def test_step_limit_names_the_time():
    with pytest.raises(StepLimit, match=r"more than 5 steps were needed to pass t = "):
        list(integrate(Pendulum(), np.ones(2), np.array([0.0, 100.0]), Counts(), max_steps=5))
