"""The loop over the steps, for all runs of one call."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mirrorflow.checks import Array, whole
from mirrorflow.descent.groups import Group
from mirrorflow.descent.inputs import Run, choice, recorded_steps, runs_of
from mirrorflow.descent.journal import Descent, Journal
from mirrorflow.descent.minibatches import Minibatches
from mirrorflow.descent.stability import LOSSES
from mirrorflow.descent.steps import BATCHES, L1_STEPS, StepMatrices
from mirrorflow.maps.product import Factors
from mirrorflow.problems import Regression
from mirrorflow.schedules import Schedule
from mirrorflow.stepwise import Stepwise
from mirrorflow.threads import one_blas_thread

BLOCK = 1000  # steps between two looks at divergence


def descend(
    problem: Regression,
    factors: Factors | Sequence[Factors],
    schedule: Stepwise | Schedule | Sequence[Stepwise | Schedule],
    step_size: ArrayLike,
    steps: int,
    batch_size: int | None = None,
    seed: int | Sequence[int] = 0,
    regularizer: str | Sequence[str] = "factors",
    record: int | Sequence[int] = 100,
    *,
    loss: str = "half_mse",
    l1: str = "proximal",
) -> Descent:
    """Gradient descent or SGD with constant step size, B runs at once.

    `factors`, `schedule`, `step_size`, `seed` and `regularizer` are each one value for all runs
    or a sequence of B values: run i takes the i-th of each. What a run computes is the same to
    the last bit whatever runs beside it.

    Parameters
    ----------
    problem : Regression
    factors : Factors, one or B
        m₀, w₀; "l1_on_x" starts at x₀ = m₀ ⊙ w₀.
    schedule : Stepwise or Schedule, one or B
        α_k. A continuous schedule is read where the step starts, as in Euler's method:
        α_k = α((k − 1)η); so `Piecewise(step_size * np.arange(steps), alphas)` gives each step
        an α_k of your own.
    step_size : float > 0, one or B
        η. Gradient descent is stable below `stable_step_size`; the distance to gradient flow is
        proportional to η.
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

    Returns
    -------
    Descent

    Raises
    ------
    InputError
        If a number is out of its range, a name is unknown, or lengths don't fit each other.

    Notes
    -----
    Divergence is looked for every 1000 steps at most; the steps since the last look are then
    repeated one by one for the runs concerned, which finds the exact step, and these runs are
    taken out, at no cost for the rest. Where a step is as small as the paper's, BLAS runs on one
    thread for the time of the call.

    Examples
    --------
    >>> problem = Regression([[1.0, 2.0]], [2.0])
    >>> start = Factors.pilot([0.0, 0.0])
    >>> run = descend(problem, start, Stepwise("constant", 0.0), 0.01, 2000)
    >>> bool(run.loss[0, -1] < 1e-9)
    True
    >>> from mirrorflow.descent import stable_step_size
    >>> edge = stable_step_size(problem, start)
    >>> descend(problem, start, Stepwise("constant", 0.0), [0.9 * edge, 2 * edge], 2000).status
    ('completed', 'diverged')
    """
    runs = runs_of(problem, factors, schedule, step_size, seed, regularizer)
    steps = whole("steps", steps, 0)
    size = problem.n if batch_size is None else whole("batch_size", batch_size, 1, problem.n)
    scale = LOSSES[choice("loss", loss, tuple(LOSSES))]
    l1 = choice("l1", l1, L1_STEPS)
    marks = recorded_steps(record, steps)
    matrices = StepMatrices.of(problem, size == problem.n)
    step_sizes = np.array([run.step_size for run in runs])
    groups = []
    for name, kind in BATCHES.items():
        chosen = np.flatnonzero([run.regularizer == name for run in runs])
        if chosen.size:
            m = np.array([runs[i].factors.m for i in chosen])
            w = np.array([runs[i].factors.w for i in chosen])
            batch = kind.start(matrices, m, w, scale * step_sizes[chosen], l1)
            groups.append(Group(chosen, batch))
    seeds, streams = np.unique([run.seed for run in runs], return_inverse=True)
    draws = Minibatches(seeds, problem.n, size) if size < problem.n else None
    journal = Journal(runs, marks)

    longest = BLOCK if draws is None else draws.longest
    total = np.zeros(len(runs))
    work = 4.0 * problem.n * problem.d * len(runs)
    with np.errstate(over="ignore", invalid="ignore"), one_blas_thread(work):
        for begin, alphas in _alphas(runs, steps):
            for start, stop in _pieces(begin, begin + len(alphas), longest, marks):
                strengths = step_sizes * alphas[start - begin : stop - begin]
                # one after the other, as a sum over one run alone is not
                spent = total + np.cumsum(strengths, axis=0)
                weights = None if draws is None else draws.next(stop - start)
                for group in groups:
                    for run, at, m, w in group.advance(strengths, weights, streams):
                        before = spent[at - 2, run] if at > 1 else total[run]
                        journal.close(run, start + at, m, w, before)
                groups = [group for group in groups if group.runs.size]
                total = spent[-1]
                journal.note(stop, groups, total)
            if not groups:
                break
    given = float(step_sizes[0]) if np.ndim(step_size) == 0 else step_sizes
    return journal.result(problem, given, loss, groups)


def _alphas(runs: Sequence[Run], steps: int) -> Iterator[tuple[int, Array]]:
    """(steps before, α of shape (steps, B)) for one block of steps after the other."""
    # a schedule that many runs share is evaluated once
    pairs = {(id(run.schedule), run.step_size): run for run in runs}
    index = {pair: i for i, pair in enumerate(pairs)}
    columns = [index[id(run.schedule), run.step_size] for run in runs]
    for begin in range(0, steps, BLOCK):
        before = np.arange(begin, min(begin + BLOCK, steps))
        alphas = np.empty((before.size, len(pairs)))
        for i, run in enumerate(pairs.values()):
            if isinstance(run.schedule, Stepwise):
                alphas[:, i] = run.schedule.alpha(before + 1)
            else:
                times = np.asarray(run.step_size * before, float)
                alphas[:, i] = run.schedule.alpha(times)
        yield begin, alphas[:, columns]


def _pieces(
    begin: int, end: int, longest: int, marks: NDArray[np.int64]
) -> Iterator[tuple[int, int]]:
    """Split [begin, end) at the recorded steps and into pieces of at most `longest` steps."""
    inside = marks[(marks > begin) & (marks < end)]
    edges = sorted({*range(begin, end, longest), *inside.tolist(), end})
    yield from itertools.pairwise(edges)
