"""Arguments of public functions: each is replaced by what does not belong there.

The answer is an InputError, or what the function returns for another legal value: no other
exception, and nothing that is not a number.
"""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from functools import cache

import numpy as np
import pytest

import mirrorflow as mf
from mirrorflow import certificates as certify
from mirrorflow.certificates import Certificate
from mirrorflow.descent import ham_descent, mean_square, sign_descent, stochastic
from mirrorflow.flows.momentum import momentum_lag
from mirrorflow.flows.quadrature import time_average

BAD = {
    "None": None,
    "text": "x",
    "nan": np.nan,
    "negative": -1.0,
    "inf": np.inf,
    "empty": [],
    "matrix": np.ones((2, 3, 4)),
    "nans": np.full(8, np.nan),
    "another length": np.ones(3),
    "object": object(),
}


@cache
def given(name):
    """Objects that the calls share."""
    rng = np.random.default_rng(0)
    Z = rng.standard_normal((3, 8))
    problem = mf.Regression(Z, Z[:, 0])
    start = mf.Factors.pilot(0.3 * rng.standard_normal(8))
    schedule = mf.Constant(0.2, 1.0)
    labels = mf.Regression(Z, np.sign(Z @ np.ones(8)), loss=mf.Logistic())
    deep = mf.Powers(np.full(8, 0.5), np.full(8, 0.6), 3)
    made = {
        "problem": lambda: problem,
        "start": lambda: start,
        "schedule": lambda: schedule,
        "labels": lambda: labels,
        "one": lambda: mf.Regression([[1.0, 2.0]], [1.0]),
        "sign design": lambda: mf.Regression(np.sign(Z), [1.0, 2.0, 3.0]),
        "deep": lambda: deep,
        "limit": lambda: mf.interpolator(problem, start, 0.2),
        "endless": lambda: mf.interpolator(problem, deep, np.inf),
        "descent": lambda: mf.follow_descent(problem, start, 0.02, 20, batch_size=1, record=20),
        "momentum": lambda: mf.momentum_flow(problem, start, schedule, 0.1, [1.0]),
        "flow": lambda: mf.direct_flow(problem, start, schedule, [0.5, 2.0], 1e-9, accumulate=True),
        "deep flow": lambda: mf.direct_flow(problem, deep, schedule, [2.0], 1e-9, accumulate=True),
        "label flow": lambda: mf.direct_flow(labels, start, schedule, [9.0], accumulate=True),
        "signs": lambda: sign_descent(problem, start, 0.01, 5),
        "pesme": lambda: stochastic.stochastic_flow(problem, start, schedule, 0.1, 1.0, 50),
        "softmax": lambda: mf.softmax_flow(Z[:, :4], [0, 1, 1], start, schedule, [1.0]),
        "gram": lambda: mean_square.gram_of_gradients(problem, given("limit")),
        "best": lambda: mf.min_l1(problem),
    }
    return made[name]()


P, S, H = given("problem"), given("start"), given("schedule")
V, W = np.linspace(0.1, 0.8, 8), np.ones((5, 8))
CALLS = [
    (mf.follow_descent, (P, S, 0.02, 5, H), {"batch_size": 1, "momentum": 0.1, "nesterov": True}),
    (mf.follow_descent, (P, S, 0.02, 5), {"sam": mf.Sam(0.1), "clip": 1.0, "label_noise": 0.1}),
    (mf.follow_descent, (P, S, 0.02, 5), {"learning_rates": (1.0, 2.0), "seed": 1, "record": 2}),
    (mf.discrete_limit, (P, given("descent")), {}),
    (mf.predicted_gain, (P, S, H, 0.1), {"momentum": 0.1, "batch_size": 1, "delay": 1.0}),
    (mf.predicted_gain, (P, S, H, 0.1), {"sam": mf.Sam(0.1)}),
    (mf.Sam, (0.1,), {}),
    (sign_descent, (P, S, 0.1, 5, 0.1), {}),
    (ham_descent, (P, V, 0.1, 5, 1.0, 0.1), {}),
    (stochastic.stochastic_flow, (P, S, H, 0.1, 1.0, 20, 1), {}),
    (stochastic.label_noise, (P, 1.0, 2), {}),
    (stochastic.slow_manifold, (P, S, V, 1.0), {}),
    (mean_square.gram_of_gradients, (P, given("limit")), {}),
    (mean_square.stable_step_sgd, (given("gram"), 1), {}),
    (mean_square.trace_bound, (given("gram"), 1), {}),
    (mf.momentum_flow, (P, S, H, 0.1, [0.5], 1e-6), {}),
    (momentum_lag, (0.1, 0.5), {}),
    (mf.controlled_flow, (P, S, H, [0.5], lambda t, x: np.ones(3)), {"decay": 0.5, "rates": 1.0}),
    (mf.controlled_flow, (P, S, H, [0.5]), {"kappa": 0.1, "method": "RK45", "rtol": 1e-6}),
    (mf.controlled_flow, (P, S, H, [0.5]), {"penalty": lambda theta: theta, "decay": V}),
    (mf.margin_flow, (given("labels"), S, [0.5], H, 1e-6), {}),
    (mf.saddle_path, (P,), {"alpha": 0.1, "thresholds": (V, V), "most": 100}),
    (mf.saddle_path(P).at, (0.1,), {}),
    (mf.softmax_flow, (P.Z[:, :4], [0, 1, 1], S, H, [0.5], 1e-6), {}),
    (time_average, (P, S, H, [0.5], 1e-6), {}),
    (mf.interpolator, (P, S, 0.5), {"gain": V, "shift": V}),
    (mf.l1_distance, (P, S, 0.5), {}),
    (mf.total_for_l1, (P, S, 0.1), {}),
    (mf.lasso_limit, (P, S, 0.1), {}),
    (mf.max_margin, (given("labels"), S, 0.5, 1.0), {}),
    (mf.Powers, (V, V, 3), {}),
    (mf.DeepFactors, ([V, V],), {}),
    (mf.SignedPower, (V, 1.5), {}),
    (mf.Ham, (V, 1.0), {}),
    (mf.LogFactors, (V, V), {}),
    (mf.LogFactors.of_scale, (8, 5.0), {}),
    (certify.discrete_argmin, (P, given("descent"), V, V), {}),
    (certify.momentum_argmin, (P, given("momentum"), 1e-9, V, V), {}),
    (certify.discrete_balance, (given("descent"), V), {}),
    (certify.sign_balance, (S, given("signs"), 0.01, 5, 0.1), {}),
    (certify.lag_law, ([0.2, 0.1], 2.0), {}),
    (certify.energy, (P, S, 1e-9, 2.0), {}),
    (certify.noise_is_decay, (given("sign design"), given("descent"), 1.0), {}),
    (certify.scale_cap, (P, given("limit"), 0.1), {}),
    (certify.sgd_threshold, (given("gram"), [0.1, 0.2, 0.3]), {}),
    (certify.gain_law, ([1.0, 2.0], [V, V]), {}),
    (certify.spread_law, (W, W), {}),
    (certify.mean_law, (W, W), {}),
    (certify.compensator, (P, [given("descent")], 0.02, 1.0), {}),
    (certify.stochastic_gain, (P, given("pesme"), 1.0), {}),
    (certify.manifold_flow, (P, S, V, 1.0, 1e-6, V), {}),
    (certify.average_identity, (P, given("descent"), 0.02, np.zeros((20, 3)), 1.0), {}),
    (certify.averaged_lasso, (P, V, V, V, 0.1), {}),
    (certify.constant_decay, (P, given("descent"), 0.1), {}),
    (certify.early_stopping, (V, V, 1.5), {}),
    (certify.small_start, (P, 50.0, [0.1], 0.1), {}),
    (certify.saddle_deviation, (P, 50.0, 0.5, 0.1, mf.saddle_path(P)), {}),
    (certify.deep_saddle_deviation, (P, given("deep"), 0.5, mf.saddle_path(P)), {}),
    (certify.late_weights, (P, given("deep"), (1.0, 1.5, 2.0), 6.0), {}),
    (certify.power_choice, (P, given("endless"), -0.3), {}),
    (certify.deep_stationarity, (P, given("deep flow"), 0.2, 1e-9, 1.0), {}),
    (certify.collapse, (P, given("deep flow"), 0.2, 1e-9, 6.0), {}),
    (certify.margin_gap, (given("labels"), S, given("label flow"), 1e-9, 0.2), {}),
    (certify.margin_identity, (given("labels"), S, given("label flow"), 1e-9, V, 0.2), {}),
    (certify.margin_direction, (given("labels"), S, given("label flow"), 1e-9, 1), {}),
    (certify.softmax_invariant, (given("softmax"), 2, 1e-9, 1.0), {}),
    (certify.solvable_penalty, (given("deep"), given("deep flow"), 0.1, 0.1, 1e-9, 1.0), {}),
    (
        certify.commuting_quadratics,
        (given("one"), [np.eye(2), -np.eye(2)], np.eye(2), V[:2], H, 0.5),
        {},
    ),
    (certify.isometry, (P, S.potential(), given("flow"), 1e-9, 0.5), {}),
    (certify.linear_risk, (P.Z, V, 1.0, V, 2.0), {}),
    (certify.risk_of_draws, (P.Z, V, 1.0, V[:1], 0, 2.0), {}),
    (certify.energy_balance, (P, S, H, 0.5, V, 1.0), {}),
    (certify.lasso_of_average, (P, S, H, 0.5, 1.0), {}),
    (certify.flip_cost, (S,), {}),
    (certify.sign_rule, (given("flow"), 1e-9, 1.0), {}),
    (certify.l1_excess, (given("limit"), given("best"), 0.2, 1.0), {}),
    (certify.sharp_l1, (P, S, 1.0), {}),
]


def numbers(result):
    """The floats of a result, but for bounds of certificates, whose nan says that none is known."""
    if isinstance(result, Certificate):
        return [] if np.isnan(result.bound) else [np.array([result.value, result.bound])]
    if isinstance(result, tuple | list):
        return [part for one in result for part in numbers(one)]
    if dataclasses.is_dataclass(result):
        names = [field.name for field in dataclasses.fields(result)]
        return numbers([getattr(result, name) for name in names])
    return [np.asarray(result)] if isinstance(result, float | np.ndarray) else []


def cases():
    for function, positional, named in CALLS:
        names = list(inspect.signature(function).parameters)
        arguments = dict(zip(names, positional, strict=False)) | named
        for name in arguments:
            words = f"{getattr(function, '__name__', function)}: {name}"
            yield pytest.param(function, arguments, name, id=words)


@pytest.mark.parametrize(("function", "arguments", "name"), list(cases()))
def test_what_does_not_belong_there_is_refused(function, arguments, name):
    for words, bad in BAD.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result = function(**(arguments | {name: bad}))
            except mf.InputError:
                continue
        if getattr(result, "status", "") == "outside":  # its message says why it has no numbers
            continue
        for part in numbers(result):
            assert not np.isnan(part).any(), (words, result)


def test_every_certificate_of_the_atlas_is_called_here():
    """Those on discrete steps, noise, depth, small starts, margins, penalties."""
    modules = ["averages", "depth", "discrete", "margins", "noise"]
    modules += ["penalties", "saddles", "signs"]
    names = {f"mirrorflow.certificates.{module}" for module in modules}
    made = {getattr(certify, name) for name in certify.__all__}
    mine = {one for one in made if inspect.isfunction(one) and one.__module__ in names}
    assert len(mine) > 30
    assert mine - {function for function, *_ in CALLS} == set()


ONES, DEEP = np.ones(8), given("deep")
FLAT = mf.DeepFactors(np.zeros((3, 8)))
REFUSED = {
    "two totals": (certify.late_weights, (P, DEEP, (1.0, 1.5)), "totals must have 3 entries"),
    "equal totals": (certify.late_weights, (P, DEEP, (1.0, 1.0, 1.0)), "totals must .*ascend"),
    "falling totals": (certify.late_weights, (P, DEEP, (2.0, 1.5, 1.0)), "totals must .*ascend"),
    "uneven totals": (certify.late_weights, (P, DEEP, (1.0, 1.2, 2.0)), "totals must .*equal"),
    "m ⊙ w": (certify.deep_saddle_deviation, (P, S, 0.5), "start must be of the type Powers"),
    "no errors": (certify.early_stopping, ([], []), "errors must not be empty"),
    "s² < 0": (stochastic.slow_manifold, (P, S, -V, 1.0), "variances must be at least 0"),
    "claimed s² < 0": (certify.manifold_flow, (P, S, V, 1.0, 1e-6, -V), "variances must be"),
    "λ = 0": (certify.averaged_lasso, (P, V, V, 0.0 * V), "penalties must be above 0"),
    "one threshold": (mf.saddle_path, {"thresholds": (ONES,)}, "thresholds must be two arrays"),
    "no events": (mf.saddle_path, {"most": 0}, "most must be at least 1"),
    "worded events": (mf.saddle_path, {"most": "x"}, "most must be a whole number"),
    "a schedule of 3": (mf.margin_flow, {"schedule": 3}, "schedule must have the members"),
    "a loss without margins": (mf.margin_flow, {"problem": P}, "loss must be Logistic"),
    "RK7": (mf.controlled_flow, {"method": "RK7"}, "method must be one of RK23"),
    "growth": (mf.controlled_flow, {"decay": -1.0}, "decay must be at least 0"),
    "a wrong penalty": (mf.controlled_flow, {"penalty": lambda t: t[0]}, "penalty must return"),
    "K of rank 1": (mean_square.stable_step_sgd, (np.ones((3, 3)), 1), "K must have full rank"),
    "a maybe": (mf.predicted_gain, {"nesterov": "no"}, "nesterov must be of the type bool"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_sentence_names_the_argument_and_the_rule(case):
    function, changed, message = REFUSED[case]
    positional = changed if isinstance(changed, tuple) else ()
    if not positional:
        defaults = next(call for call in CALLS if call[0] is function)
        names = list(inspect.signature(function).parameters)
        changed = dict(zip(names, defaults[1], strict=False)) | changed
    else:
        changed = {}
    with pytest.raises(mf.InputError, match=f"^{message}") as caught:
        function(*positional, **changed)
    assert len(str(caught.value).splitlines()) == 1


def test_layers_of_zeros_have_no_margin_and_no_interpolator():
    """x stays 0: statuses say so, nothing raises."""
    assert mf.max_margin(given("labels"), FLAT, 1.0).status == "not_separable"
    assert mf.interpolator(P, FLAT, 1.0).status == "no_interpolator_in_sign_cone"
    assert not mf.direct_flow(P, FLAT, H, [1.0]).x.any()
    assert certify.late_weights(P, FLAT, (1.0, 1.5, 2.0)).verdict == "can't be judged"
