"""The loop over the steps, for all runs of one call."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array, number, whole
from mirrorflow.descent.backends import backend_for
from mirrorflow.descent.groups import Group
from mirrorflow.descent.inputs import Run, choice, recorded_steps, runs_of
from mirrorflow.descent.journal import Descent, Journal
from mirrorflow.descent.minibatches import Minibatches
from mirrorflow.descent.steps import BATCHES, L1_STEPS, Plan
from mirrorflow.factors import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule
from mirrorflow.stepwise import Stepwise
from mirrorflow.threads import one_blas_thread

LOSSES = {"half_mse": 1.0, "mse": 2.0}
BLOCK = 1000  # steps between two looks at divergence


def descend(
    problem: Regression,
    factors: Factors | Sequence[Factors],
    schedule: Stepwise | Schedule | Sequence[Stepwise | Schedule],
    step_size: float,
    steps: int,
    batch_size: int | None = None,
    seed: int | Sequence[int] = 0,
    regularizer: str | Sequence[str] = "factors",
    record: int | Sequence[int] = 100,
    *,
    loss: str = "half_mse",
    l1: str = "proximal",
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Descent:
    """Gradient descent or SGD with constant step size, B runs at once.

    `factors`, `schedule`, `seed` and `regularizer` are each one value for all runs or a
    sequence of B values: run i takes the i-th of each. What a run computes does not depend,
    up to rounding, on the others.

    Parameters
    ----------
    problem : Regression
    factors : Factors, one or B
        m₀, w₀; "l1_on_x" starts at x₀ = m₀ ⊙ w₀.
    schedule : Stepwise or Schedule, one or B
        α_k. A continuous schedule is read where the step starts, as in Euler's method:
        α_k = α((k − 1)η).
    step_size : float > 0
        η. Stable for "factors" and "mask_l1" below about 2/(L max(m² + w²)), for "l1_on_x"
        below 2/L, L = σ_max(Z)²/n; the distance to gradient flow is proportional to it.
    steps : int ≥ 0
    batch_size : int in [1, n], optional
        Rows of every minibatch, drawn afresh in each step, uniformly without replacement, so
        that gradients are unbiased and independent over steps (no epochs). None, or n, is
        gradient descent.
    seed : int ≥ 0, one or B
        Stream of the minibatches, of no effect without them. Runs with the same seed see the
        same minibatches: a comparison of schedules then has less noise, an average over runs
        needs B seeds.
    regularizer : str, one or B
        "factors": α(‖m‖² + ‖w‖²) on x = m ⊙ w; "mask_l1": α‖m‖₁ on x = m ⊙ w; "l1_on_x":
        α‖x‖₁, x itself the parameter.
    record : int ≥ 1 or ascending sequence of steps
        Which rows are kept: about so many evenly spaced ones, or these. Step 0 and the last
        are always among them.
    loss : "half_mse" or "mse"
        "mse" is the paper's ‖Zx − y‖²/n without ½: the same runs as "half_mse" with 2η for η
        and α/2 for α.
    l1 : "proximal" or "subgradient"
        How the two L1 regularisers step. Proximal (soft-thresholding) by default: it gives
        exact zeros, and for constant α the runs of "l1_on_x" end at the LASSO. "subgradient",
        −ηα sign(·) with sign(0) = 0, is the paper's plain gradient descent; it never rests at
        zero but chatters around it within ηα (within 1e-4·α there).
    device : "cpu", "cuda" or "cuda:i"
        "cpu" is NumPy alone, with one BLAS thread for the time of the call where steps are as
        small as the paper's. The others use torch, one kernel per array operation: worthwhile
        for many runs only.
    progress : function of (steps done, steps), optional
        Called every 1000 steps and at the end; it stops short of `steps` where every run has
        diverged. What it raises, KeyboardInterrupt too, ends the call and leaves nothing behind.

    Returns
    -------
    Descent

    Raises
    ------
    InputError
        If a number is out of its range, a name is unknown, lengths don't fit each other, or
        there is no such device.

    Notes
    -----
    Divergence is looked for every 1000 steps at most; the steps since the last look are then
    repeated one by one for the runs concerned, which finds the exact step, and these runs are
    taken out, at no cost for the rest.

    Examples
    --------
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> start = Factors.pilot([0.0, 0.0])
    >>> run = descend(problem, start, Stepwise("constant", 0.0), 0.01, 2000)
    >>> bool(run.loss[0, -1] < 1e-9)
    True
    """
    runs = runs_of(problem, factors, schedule, seed, regularizer)
    step_size = number("step_size", step_size, 0.0, open_low=True)
    steps = whole("steps", steps, 0)
    size = problem.n if batch_size is None else whole("batch_size", batch_size, 1, problem.n)
    scale = LOSSES[choice("loss", loss, tuple(LOSSES))]
    l1 = choice("l1", l1, L1_STEPS)
    marks = recorded_steps(record, steps)
    backend = backend_for(device)
    plan = Plan.of(backend, problem, scale * step_size, size == problem.n)
    groups = []
    for name, kind in BATCHES.items():
        chosen = np.flatnonzero([run.regularizer == name for run in runs])
        if chosen.size:
            m = np.array([runs[i].factors.m for i in chosen]).T
            w = np.array([runs[i].factors.w for i in chosen]).T
            groups.append(Group(chosen, kind.start(plan, m, w, l1)))
    seeds, streams = np.unique([run.seed for run in runs], return_inverse=True)
    draws = Minibatches(seeds, problem.n, size) if size < problem.n else None
    journal = Journal([run.factors for run in runs], marks)

    longest = BLOCK if draws is None else draws.longest
    total = np.zeros(len(runs))
    work = 4.0 * problem.n * problem.d * len(runs)
    with np.errstate(over="ignore", invalid="ignore"), one_blas_thread(work):
        for begin, alphas in _alphas(runs, step_size, steps):
            end = begin + len(alphas)
            for start, stop in _pieces(begin, end, longest, marks):
                strengths = step_size * alphas[start - begin : stop - begin]
                weights = None if draws is None else draws.next(stop - start)
                for group in groups:
                    for run, at, m, w in group.advance(strengths, weights, streams):
                        spent = total[run] + strengths[: at - 1, run].sum()
                        journal.close(run, start + at, m, w, spent)
                groups = [group for group in groups if group.runs.size]
                total += strengths.sum(axis=0)
                journal.note(stop, groups, total)
            if progress is not None:
                progress(end, steps)
            if not groups:
                break
    return journal.result(problem, step_size, scale, groups)


def _alphas(runs: Sequence[Run], step_size: float, steps: int) -> Iterator[tuple[int, Array]]:
    """(steps before, α of shape (steps, B)) for one block of steps after the other."""
    # a schedule that many runs share is evaluated once
    identities = [id(run.schedule) for run in runs]
    _, first, columns = np.unique(identities, return_index=True, return_inverse=True)
    distinct = [runs[i].schedule for i in first]
    for begin in range(0, steps, BLOCK):
        before = np.arange(begin, min(begin + BLOCK, steps))
        alphas = np.empty((before.size, len(distinct)))
        for i, schedule in enumerate(distinct):
            if isinstance(schedule, Stepwise):
                alphas[:, i] = schedule.alpha(before + 1)
            else:
                alphas[:, i] = schedule.alpha(step_size * before)
        yield begin, alphas[:, columns]


def _pieces(
    begin: int, end: int, longest: int, marks: NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """Cut [begin, end) at the recorded steps and into pieces of at most `longest` steps."""
    inside = marks[(marks > begin) & (marks < end)]
    cuts = sorted({*range(begin, end, longest), *inside.tolist(), end})
    yield from itertools.pairwise(cuts)
