"""Trials of the ledger are those they were: what each certificate is asked, and what it says.

`python tests/test_claim_trials.py` records them anew, where a trial is changed on purpose.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import sys
from contextlib import ExitStack, contextmanager
from numbers import Number
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

import mirrorflow as mf
from mirrorflow import certificates, commuting
from mirrorflow.claims import Claim, by_scipy, convergence, draws, judges, paths, registry
from mirrorflow.claims.registry import CLAIMS, GROUPS, LOSSES, SECTIONS
from mirrorflow.problems import random_stream

RECORD = Path(__file__).parent / "data" / "claim_trials.json"
TRIALS = [
    f"{group} {loss} {number}"
    for group, (losses, _, _) in GROUPS.items()
    for loss in losses
    for number in range(2)
]


def numbers(value):
    """Every number in an argument, in order: a path's times and points, a problem's Z and y, …"""
    if hasattr(value, "times") and hasattr(value, "x"):
        parts = [value.times, value.x, value.total] if hasattr(value, "total") else [value.x]
    elif hasattr(value, "status") and hasattr(value, "x"):
        parts = [value.x]
    elif isinstance(value, torch.Tensor):
        parts = [value.detach().numpy()]
    elif dataclasses.is_dataclass(value):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    elif isinstance(value, dict):
        parts = [value[key] for key in sorted(value)]
    elif isinstance(value, list | tuple):
        parts = list(value)
    elif isinstance(value, Number | np.ndarray):
        return np.ravel(np.asarray(value, float))
    else:  # a name, a function, None
        return np.empty(0)
    return np.concatenate([np.empty(0), *map(numbers, parts)])


def mark(*given):
    """One positive number that a change of any of the numbers given, or of its sign, moves."""
    found = numbers(given)
    found = found[np.isfinite(found)]
    weights = 1.0 + np.arange(found.size) % 97 / 97.0
    return float(weights @ (np.abs(found) * np.where(found < 0, 1.5, 1.0)))


@contextmanager
def noted(calls):
    """Add the mark of what each certificate is called with, in order."""

    def noting(function):
        @functools.wraps(function)
        def called(*args, **named):
            calls.append(mark(args, named))
            return function(*args, **named)

        return called

    homes = [certificates, commuting, by_scipy]
    homes += {sys.modules[trial.__module__] for _, _, trial in GROUPS.values()}
    with ExitStack() as stack:
        for home in homes:
            for name, found in list(vars(home).items()):
                if inspect.isfunction(found) and "Certificate" in str(
                    found.__annotations__.get("return")
                ):
                    stack.enter_context(mock.patch.object(home, name, noting(found)))
        yield


def tried(name):
    """Marks of what the certificates of a trial are called with; value and bound of each claim."""
    group, loss, number = name.split()
    calls = []
    with noted(calls):
        checks = registry.trial(group, loss, int(number))
    said = {key: (float(check.value), float(check.bound)) for key, check in checks.items()}
    return calls, said


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


def test_every_trial_is_recorded(record):
    assert list(record) == TRIALS
    assert {key for _, said in record.values() for key in said} == set(CLAIMS)


@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_is_the_one_that_it_was(record, name):
    """Its problem, start, schedule, times and path to 1e-6, which is what other kernels change; so
    are values far above rounding. Bounds grow with the integrator's steps, of which some may come
    or go; values that are rounding stay as far below them."""
    calls, said = tried(name)
    marks, expected = record[name]
    assert calls == pytest.approx(marks, rel=1e-6)
    assert list(said) == list(expected)
    for key, (value, bound) in said.items():
        old_value, old_bound = expected[key]
        assert bound == pytest.approx(old_bound, rel=0.1, nan_ok=True), key
        if old_value > 0.1 * old_bound:
            assert value == pytest.approx(old_value, rel=1e-3), key
        elif value > 0.01 * bound:
            assert value / bound < 3.0 * old_value / old_bound, key


# ---- the registry and what judges


def test_statements_name_their_theorem():
    for key, claim in CLAIMS.items():
        said = registry.statement(key)
        assert said.startswith(claim.statement)
        number = said.removeprefix(claim.statement)
        assert number == (f" ({claim.section})" if claim.section in ("2.1", "2.2", "2.3") else "")


def test_powers_that_commute_are_those_of_the_statement(monkeypatch):
    """u^L − v^L with L = 3, 4 and 5, each in some trial: told from its values."""
    exponents = set()
    stub = certificates.Certificate.of("stub", 1.0, 1.0)

    def noting(g, size, at):
        start = np.zeros(size)
        start[[0, -1]] = 2.0, 1.0
        *_, last = values = g(start)
        if last == -1.0:  # where m ⊙ w is 0
            exponents.add(float(np.log2(values[0])))
        return stub

    monkeypatch.setattr(commuting, "commutes", noting)
    for name in ("regularizer_commutes", "brackets_in_kernel"):
        monkeypatch.setattr(commuting, name, lambda *_: stub)
    for number in range(20):
        registry.trial("commuting", "none", number)
    assert exponents == {2.0, 3.0, 4.0, 5.0}  # u² − v² too


def test_every_kind_of_schedule_is_drawn_and_spends_its_total():
    """Harmonic ones by t = 10; pieces have any three strengths, not an order among them."""
    kinds, orders = set(), set()
    for seed in range(60):
        schedule = draws.random_schedule(np.random.default_rng(seed), 1.5)
        endless = isinstance(schedule, mf.Harmonic)
        assert schedule.total(10.0 if endless else 1e9) == pytest.approx(1.5, rel=1e-6)
        if isinstance(schedule, mf.Piecewise):
            levels = [float(schedule.alpha(t)) for t in (0.0, 0.5, 1.5, 3.0)]
            assert min(levels) >= 0.0 == levels[-1]
            orders.add(tuple(np.argsort(levels[:3])))
        kinds.add(type(schedule))
    assert kinds == {mf.Constant, mf.Quadratic, mf.Geometric, mf.Harmonic, mf.Piecewise}
    assert len(orders) > 2


def test_every_claim_is_well_formed():
    assert [key for group in GROUPS.values() for key in group.keys] == list(CLAIMS)
    for key, claim in CLAIMS.items():
        assert claim.key == key
        assert claim.section in SECTIONS
        assert "|" not in claim.statement + claim.conditions + claim.source
        # a wrong formula stands beside the right one
        assert (claim.kind in ("printed", "changed")) == bool(claim.corrected)
        assert not claim.corrected or CLAIMS[claim.corrected].kind == "claim"
    assert len({claim.statement for claim in CLAIMS.values()}) == len(CLAIMS)
    assert all(set(group.losses) <= set(LOSSES) for group in GROUPS.values())


@pytest.mark.parametrize("group", ["path", "another"])
def test_a_name_is_given_once(monkeypatch, group):
    """Of a group or a claim: at import, before any trial."""
    monkeypatch.setattr(registry, "CLAIMS", dict(CLAIMS))
    monkeypatch.setattr(registry, "GROUPS", dict(GROUPS))
    key = "convergence" if group == "another" else "a_new_claim"
    again = judges(group, ("squared",), Claim(key, "2.1", "", "", ""))
    with pytest.raises(ValueError, match="a claim must have a name of its own"):
        again(lambda rng, loss: {})
    judges("third", ("squared",), Claim("third", "2.1", "", "", ""))(lambda rng, loss: {})
    assert registry.GROUPS["third"].keys == ("third",)
    misspelt = registry.GROUPS["third"]._replace(trial=lambda *_: {"typo": 0})
    monkeypatch.setitem(registry.GROUPS, "third", misspelt)
    with pytest.raises(ValueError, match=r"third must judge .*'third'.* but it judges .*'typo'"):
        registry.trial("third", "squared", 0)


def test_a_wrong_constant_flips_the_ledger(monkeypatch):
    """e^{−4A} taken for e^{−2A} in R_a: Theorems 2.1 and 2.3 come out refuted."""
    flow, limit = paths.direct_flow, convergence.interpolator

    def wrong(*arguments, **options):
        right = flow(*arguments, **options)
        return dataclasses.replace(right, total=0.5 * right.total)

    for module in (paths, convergence):
        monkeypatch.setattr(module, "direct_flow", wrong)
        monkeypatch.setattr(module, "interpolator", lambda P, f, total: limit(P, f, 0.5 * total))
    path, stop = (registry.trial(group, "squared", 0) for group in ("path", "stop"))
    assert not path["mirror_equation"].holds
    assert not path["finite_time"].holds
    assert not stop["convergence"].holds


def test_scipy_notices_an_error_of_a_millionth():
    """The reference integrator is judged by methods that share nothing with it."""
    rng = random_stream("claims", "path", 0)
    problem = draws.random_problem(rng, LOSSES["squared"])
    factors, schedule = draws.any_signs(rng, problem.d), mf.Constant(0.3, 1.0)
    path = mf.direct_flow(problem, factors, schedule, [0.0, 0.5, 1.0, 3.0], 1e-10)
    right = by_scipy.agreement(problem, schedule, path, 1e-10)
    assert right.holds
    assert right.bound < 1e-7
    wrong = dataclasses.replace(path, x=path.x * (1.0 + 1e-6))
    assert by_scipy.agreement(problem, schedule, wrong, 1e-10).verdict == "refuted"
    late = mf.Constant(0.3, 1.001)
    assert by_scipy.agreement(problem, late, path, 1e-10).verdict == "refuted"
    # as far as scipy is asked to go itself
    coarse = by_scipy.agreement(problem, schedule, path, 1e-10, own=1e-5)
    assert right.value < 1e-3 * coarse.value <= 1e-3 * coarse.bound


if __name__ == "__main__":
    found = {}
    for name in TRIALS:
        calls, said = tried(name)
        rounded = {key: [float(f"{one:.7g}") for one in pair] for key, pair in said.items()}
        found[name] = [[float(f"{one:.9g}") for one in calls], rounded]
    lines = [f"{json.dumps(name)}: {json.dumps(one)}" for name, one in found.items()]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")
