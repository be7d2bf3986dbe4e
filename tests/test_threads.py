"""BLAS threads: one within every inner loop, as before afterwards, whoever else is in a loop."""

from __future__ import annotations

import inspect
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import threadpoolctl

import mirrorflow as mf
from mirrorflow import threads

SCHEDULE = mf.Harmonic(1.0, 1.0)
LOOPS = {
    "gradient_flow": lambda p, f: mf.gradient_flow(p, f, SCHEDULE, [0.0, 1.0, np.inf]),
    "gradient_flows": lambda p, f: mf.gradient_flows(p, [f, f], SCHEDULE, [0.0, 1.0]),
    "direct_flow": lambda p, f: mf.direct_flow(p, f, SCHEDULE, [0.0, 1.0]),
    "direct_flows": lambda p, f: mf.direct_flows(p, [f, f], SCHEDULE, [0.0, 1.0]),
    "interpolator": lambda p, f: mf.interpolator(p, f, 1.0),
    "interpolator, A = inf": lambda p, f: mf.interpolator(problem=p, start=f, total=np.inf),
    "interpolators": lambda p, f: mf.interpolators(p, [f, f], [0.0, 1.0]),
    "lasso_limit": lambda p, f: mf.lasso_limit(p, f, 0.1),
}  # `descend`: tests/test_descent.py


def blas_threads() -> list[int]:
    pools = threadpoolctl.threadpool_info()
    return [pool["num_threads"] for pool in pools if pool["user_api"] == "blas"]


@pytest.fixture
def two():
    """Two threads around the test, whatever the environment says; 1 of libraries without."""
    with threadpoolctl.threadpool_limits(2, "blas"):
        assert max(blas_threads()) == 2
        yield blas_threads()


def threads_within(call) -> dict[str, set[int]]:
    """The number of BLAS threads at the first call of each function of flows and limits."""
    seen = {}

    def look(frame, event, _):
        file, name = Path(frame.f_code.co_filename), frame.f_code.co_name
        inside = event == "call" and file.parent.name in ("flows", "limits")
        if inside and name != "direct_flow" and frame.f_code not in seen:
            seen[frame.f_code] = set(blas_threads())

    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
    return {code.co_qualname: found for code, found in seen.items()}


@pytest.mark.parametrize("name", LOOPS)
def test_loops_have_one_thread_and_leave_two(name, small, two):
    found = threads_within(lambda: LOOPS[name](*small))
    assert len(found) > 5
    assert {name for name, numbers in found.items() if numbers != {1}} == set()
    assert blas_threads() == two


class Interrupted(mf.Harmonic):
    """A schedule during which Ctrl-C is pressed."""

    def alpha(self, t):
        raise KeyboardInterrupt

    total = alpha


@pytest.mark.parametrize("call", [mf.gradient_flow, mf.direct_flow])
def test_threads_are_restored_after_an_exception(call, small, two):
    problem, factors = small
    with pytest.raises(KeyboardInterrupt):
        call(problem, factors, Interrupted(1.0, 1.0), [0.0, 1.0])
    assert blas_threads() == two
    with pytest.raises(mf.InputError):
        call(problem, factors, mf.Constant(0.0), [2.0, 1.0])
    with pytest.raises(mf.InputError):
        mf.interpolator("no problem", factors, 1.0)
    assert blas_threads() == two


def test_the_last_of_several_loops_restores(two):
    inside, out = threading.Event(), threading.Event()

    def loop():
        with threads.one_blas_thread(0.0):
            inside.set()
            out.wait(60)

    other = threading.Thread(target=loop)
    with threads.one_blas_thread(0.0):
        with threads.one_blas_thread(0.0):
            other.start()
            assert inside.wait(60)
        assert set(blas_threads()) == {1}
    assert set(blas_threads()) == {1}  # the other thread is still within
    out.set()
    other.join(60)
    assert blas_threads() == two


def test_many_threads_that_come_and_go(small, two):
    problem, factors = small
    failures = []

    def work():
        for _ in range(10):
            with threads.one_blas_thread(0.0):
                if set(blas_threads()) != {1}:
                    failures.append(blas_threads())
            mf.interpolator(problem, factors, 1.0)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert not failures
    assert blas_threads() == two


class OpenMP:
    """A library of which each Python thread has its own number of threads."""

    user_api, threading_layer, numbers = "blas", "openmp", threading.local()

    @property
    def num_threads(self):
        return getattr(self.numbers, "value", 4)

    def set_num_threads(self, number):
        self.numbers.value = number


def test_each_thread_restores_its_own_number(monkeypatch):
    library = OpenMP()
    monkeypatch.setattr(threads, "controller", lambda: SimpleNamespace(lib_controllers=[library]))
    entered, left, seen = threading.Event(), threading.Event(), []

    def loop():
        with threads.one_blas_thread(0.0):
            seen.append(library.num_threads)
            entered.set()
            left.wait(60)
        seen.append(library.num_threads)

    other = threading.Thread(target=loop)
    with threads.one_blas_thread(0.0):
        other.start()
        assert entered.wait(60)
        assert library.num_threads == 1
    assert library.num_threads == 4  # at once, though the other is still within
    left.set()
    other.join(60)
    assert seen == [1, 4]


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_spread_calls_each_once_and_keeps_their_order(monkeypatch, number, count):
    monkeypatch.setattr(threads, "_threads", lambda: number)
    called = []

    def one(i):
        called.append(i)
        time.sleep(0.05 / (i + 1))  # later ones may end first
        return i * i

    assert threads.spread(one, count) == [i * i for i in range(count)]
    assert sorted(called) == list(range(count))


def test_spread_works_in_as_many_threads_as_it_may_and_in_the_callers(monkeypatch):
    monkeypatch.setattr(threads, "_threads", lambda: 3)
    together = threading.Barrier(3)  # passed by three at a time alone

    def one(i):
        together.wait(60)
        return threading.get_ident()

    own = threads.spread(one, 3)
    assert len(set(own)) == 3
    assert threading.get_ident() in own


@pytest.mark.parametrize("caller", [True, False])
def test_spread_begins_no_run_after_an_error(monkeypatch, caller):
    monkeypatch.setattr(threads, "_threads", lambda: 2)
    mine, both, begun = threading.get_ident(), threading.Barrier(2), []

    def one(i):
        begun.append(i)
        if i < 2:
            both.wait(60)
            if (threading.get_ident() == mine) == caller:
                raise KeyError(i)
        time.sleep(0.5)  # the other thread ends all in a part of this time

    with pytest.raises(KeyError):
        threads.spread(one, 100)
    assert len(begun) < 20


def test_large_products_keep_their_threads(two):
    with threads.one_blas_thread(threads.LARGE):
        assert blas_threads() == two


def test_libraries_are_looked_for_once(monkeypatch):
    threads.controller()
    monkeypatch.setattr(threads, "ThreadpoolController", pytest.fail)
    threads.controller()


def test_decorated_functions_say_what_they_take():
    assert list(inspect.signature(mf.interpolator).parameters)[:3] == ["problem", "start", "total"]
    assert "argmin" in mf.interpolator.__doc__
