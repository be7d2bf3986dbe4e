"""Rodas5P: order and stiffness."""

from __future__ import annotations

import numpy as np

from mirrorflow.flows.rosenbrock import C_ROWS, NODES, step


class Pendulum:
    """A non-autonomous, non-linear test system: y₀' = y₁, y₁' = −sin y₀ + cos 3t."""

    def __init__(self, t, y, h):
        self.t, self.y, self.times = t, y, t[:, None] + h[:, None] * np.array(NODES)

    def derivative(self, stage, y):
        return self.slope(self.times[:, stage], y)

    def slope(self, t, y):
        return np.stack([y[:, 1], -np.sin(y[:, 0]) + np.cos(3 * t)], axis=1)

    def drift(self):
        return np.stack([0 * self.t, -3 * np.sin(3 * self.t)], axis=1)

    def solver(self, shift):
        jacobian = np.zeros((len(shift), 2, 2))
        jacobian[:, 0, 1], jacobian[:, 1, 0] = 1.0, -np.cos(self.y[:, 0])
        matrices = shift[:, None, None] * np.eye(2) - jacobian
        return lambda b: np.linalg.solve(matrices, b[:, :, None])[:, :, 0]


class Fast(Pendulum):
    """Prothero and Robinson: y' = −10⁶(y − cos t) − sin t, whose solution is cos t."""

    def slope(self, t, y):
        return -1e6 * (y - np.cos(t)[:, None]) - np.sin(t)[:, None]

    def drift(self):
        return (-1e6 * np.sin(self.t) - np.cos(self.t))[:, None]

    def solver(self, shift):
        return lambda b: b / (shift[:, None] + 1e6)


def fixed(system, y, steps):
    """y at t = 1 for each of several numbers of steps, all at once."""
    t, h = np.zeros(len(steps)), 1.0 / np.array(steps)
    y = np.repeat(y[None], len(steps), axis=0)
    for i in range(max(steps)):
        on = i < np.array(steps)
        start = system(t[on], y[on], h[on])
        y[on], _ = step(start, y[on], start.slope(t[on], y[on]), h[on])
        t = t + h
    return y


def orders(steps):
    y = fixed(Pendulum, np.array([1.0, 0.5]), [*steps, 640])
    errors = np.abs(y[:-1] - y[-1]).max(axis=1)
    return -np.polyfit(np.log(steps), np.log(errors), 1)[0]


def test_order_is_five():
    """Regression of log-error on log-step: the coefficients are right only if it is 5."""
    assert 4.7 < orders([10, 14, 20, 28, 40]) < 5.6


def test_a_wrong_coefficient_costs_the_order():
    kept = C_ROWS[4][0]
    try:
        C_ROWS[4][0] = kept * (1 + 1e-4)
        assert orders([10, 40]) < 4
    finally:
        C_ROWS[4][0] = kept


def test_stiff_problem_takes_few_steps():
    """Steps 10⁴ times longer than an explicit method's neither blow up nor lose the solution."""
    end = fixed(Fast, np.array([1.0]), [40, 160])
    errors = np.abs(end[:, 0] - np.cos(1.0))
    assert errors[0] < 1e-8
    assert errors[1] < 1e-9
