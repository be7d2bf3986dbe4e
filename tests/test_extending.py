"""A new map and a new loss: one file each, and flows, limits and certificates take them."""

from __future__ import annotations

import importlib
import sys
import textwrap

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow import certificates as certify

MAP = '''
    """x = sinh θ: dθ/cosh θ = dμ, so that X = tan(μ + c), c = arctan sinh θ₀."""

    import math
    from dataclasses import dataclass
    from typing import ClassVar

    import numpy as np

    from mirrorflow.compiled.options import Kernel, kernel
    from mirrorflow.maps import MirrorMap


    @kernel("MAP")
    def point(parts, low, high, total, mu, out):
        for j in range(low, high):
            x = math.tan(mu[j] + parts[0, j])
            out[0, j] = x
            out[1, j] = 1.0 + x * x
            out[2, j] = math.sqrt(1.0 + x * x)
            if out.shape[0] > 3:
                out[3, j] = -math.log(math.cos(mu[j] + parts[0, j]))


    @kernel("MAP")
    def written(theta, low, high, degree, scratch, out):
        for j in range(low, high):
            out[0, j] = math.sinh(theta[0, j])
            out[1, j] = math.cosh(theta[0, j])
            if out.shape[0] > 2:
                out[2, j] = math.sinh(theta[0, j])


    @dataclass(frozen=True, slots=True, eq=False, repr=False)
    class Sinh(MirrorMap):
        values: np.ndarray
        point: ClassVar[Kernel] = point
        written: ClassVar[Kernel] = written

        @property
        def theta(self):
            return self.values[None]

        def g(self, theta):
            return np.sinh(theta[..., 0, :])

        def parts(self):
            return np.arctan(self.x)[None]

        def parameters(self, total, mu):
            return np.arcsinh(np.tan(mu + self.parts()[0]))[:, None]

        @property
        def domain(self):
            c = self.parts()[0]
            return -np.pi / 2 - c, np.pi / 2 - c
'''
LOSS = '''
    """The Cauchy loss φ = ½ log(1 + (z − y)²), which is not convex."""

    import math
    from dataclasses import dataclass
    from typing import ClassVar

    from mirrorflow.compiled.options import Kernel, kernel
    from mirrorflow.losses import Loss


    @kernel("LOSS")
    def cauchy(z, y, parameter, out):
        for i in range(z.size):
            r = z[i] - y[i]
            out[0, i] = r / (1.0 + r * r)
            out[1, i] = (1.0 - r * r) / (1.0 + r * r) ** 2
            if out.shape[0] > 2:
                out[2, i] = 0.5 * math.log1p(r * r)


    @dataclass(frozen=True, slots=True)
    class Cauchy(Loss):
        rows: ClassVar[Kernel] = cauchy

        def minimiser(self, y):
            return y
'''
RTOL = 1e-11
# dense where misfits are 1e-3 to 1e4 rtol: there the last rate is measured
TIMES = np.concatenate([[0.0], np.geomspace(1e-2, 2.0, 10), np.linspace(2.0, 200.0, 200)[1:]])
NONE = mf.Constant(0.0)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The two classes from files that Python finds on its path."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_map.py").write_text(textwrap.dedent(MAP), "utf-8")
    falling = textwrap.dedent(MAP).replace("math.tan(mu[j] +", "math.tan(-mu[j] +")
    (folder / "falling_map.py").write_text(falling, "utf-8")
    (folder / "own_loss.py").write_text(textwrap.dedent(LOSS), "utf-8")
    sys.path.insert(0, str(folder))
    yield importlib.import_module("own_map").Sinh, importlib.import_module("own_loss").Cauchy()
    sys.path.remove(str(folder))


def data(seed=0):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((5, 12))
    return Z, Z @ np.where(np.arange(12) < 2, 1.0, 0.0), 0.3 * rng.standard_normal(12)


def test_a_new_map(own):
    Sinh, _ = own
    Z, y, theta = data()
    problem, start = mf.Regression(Z, y), Sinh(theta)
    dual = mf.gradient_flow(problem, start, NONE, TIMES, RTOL)
    direct = mf.direct_flow(problem, start, NONE, TIMES, RTOL, accumulate=True)
    limit = mf.interpolator(problem, start, 0.0)
    assert limit.status == "converged"
    checks = [
        certify.path_difference(dual, direct, RTOL),
        certify.mirror_flow(problem, start, direct, RTOL),
        certify.mirror_equation(start, direct, RTOL),
        certify.closed_form(start, direct, RTOL),
        certify.finite_time(problem, start, direct, RTOL),
        certify.convergence(problem, limit, NONE, direct, RTOL),
        certify.arrival(problem, limit, NONE, direct, RTOL),
        certify.optimality(problem, limit, 0.0),
        certify.asymptotic_rate(problem, limit, direct, RTOL),
        certify.lower_rate(problem, start, 0.0, direct, 0.0, RTOL),
    ]
    assert [check for check in checks if not check.holds] == []
    assert max(check.bound for check in checks[:7]) < 1e-3
    # of another start neither the equation nor the limit is true
    other = Sinh(theta + 0.1)
    assert certify.mirror_equation(other, direct, RTOL).verdict == "refuted"
    wrong = mf.interpolator(problem, other, 0.0)
    assert certify.convergence(problem, wrong, NONE, direct, RTOL).verdict == "refuted"


def test_decay_has_no_law_for_a_map_without_degree(own):
    Sinh, _ = own
    Z, y, theta = data()
    problem, start, decay = mf.Regression(Z, y), Sinh(theta), mf.Constant(0.1, 1.0)
    with pytest.raises(mf.InputError, match="must be 0 for Sinh"):
        mf.gradient_flow(problem, start, decay, TIMES)
    assert mf.direct_flow(problem, start, decay, TIMES).success
    with pytest.raises(mf.InputError, match="start must have invariants, but Sinh has none"):
        certify.invariant(start, mf.direct_flow(problem, start, NONE, TIMES), RTOL)


def test_a_new_loss(own):
    _, cauchy = own
    Z, y, _ = data()
    problem = mf.Regression(Z, 3.0 * y, loss=cauchy)  # far enough for φ″ < 0
    schedule = mf.Constant(0.1, 1.0)
    start = mf.Factors.pilot(np.full(12, 0.1))
    assert (cauchy.curvature(problem.Z @ start.x, problem.y) < 0).any()
    dual = mf.gradient_flow(problem, start, schedule, TIMES, RTOL)
    direct = mf.direct_flow(problem, start, schedule, TIMES, RTOL, accumulate=True)
    limit = mf.interpolator(problem, start, 0.1)
    checks = [
        certify.path_difference(dual, direct, RTOL),
        certify.invariant(start, direct, RTOL),
        certify.mirror_equation(start, direct, RTOL),
        certify.finite_time(problem, start, direct, RTOL),
        certify.convergence(problem, limit, schedule, direct, RTOL),
        certify.asymptotic_rate(problem, limit, direct, RTOL),
    ]
    assert [check for check in checks if not check.holds] == []
    assert direct.loss[-1] < 1e-12
    with pytest.raises(mf.InputError, match=r"loss must be Squared\(\) or PseudoHuber"):
        certify.eventually_falling(problem, direct, 10.0, RTOL)


def test_both_at_once(own):
    Sinh, cauchy = own
    Z, y, theta = data(1)
    problem, start = mf.Regression(Z, y, loss=cauchy), Sinh(theta)
    dual = mf.gradient_flow(problem, start, NONE, TIMES, RTOL)
    direct = mf.direct_flow(problem, start, NONE, TIMES, RTOL)
    assert certify.path_difference(dual, direct, RTOL).holds
    assert certify.mirror_flow(problem, start, direct, RTOL).holds


def test_a_kernel_that_knows_no_domain_is_not_believed_beyond_it(own):
    """tan has other branches beyond ±π/2: their points solve Zx = y, but no flow ends there."""
    Z, y, theta = data()
    start = own[0](theta)
    low, high = start.domain
    limits = [mf.interpolator(mf.Regression(Z, size * y), start, 0.0) for size in (1.0, 10.0, 1e3)]
    for limit in limits:
        mu = 0.5 * Z.T @ limit.dual
        assert limit.status == "not_converged" or ((low < mu) & (mu < high)).all()
    assert limits[0].success
    assert not all(limit.success for limit in limits)


@pytest.mark.usefixtures("own")
def test_a_map_that_does_not_increase_is_refused():
    """Its flow would go uphill, and be called complete."""
    Z, y, theta = data()
    problem, start = mf.Regression(Z, y), importlib.import_module("falling_map").Sinh(theta)
    for solve in (
        lambda: mf.gradient_flow(problem, start, NONE, [1.0]),
        lambda: mf.interpolator(problem, start, 0.0),
    ):
        with pytest.raises(mf.InputError, match="start must have an X that increases with μ"):
            solve()
