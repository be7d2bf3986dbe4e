r"""Many runs of the dual system at once, up to their limits.

Once its penalty is over, a run is finished by linear decay towards its limit as soon as the bound
of `arrival` allows. A run that takes many steps goes on alone, by LSODA, sooner where Hessians
are large: the others would only wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mirrorflow.checks import Array
from mirrorflow.flows.arrival import Tails, find_limits, finish_error, rest_error
from mirrorflow.flows.clock import Clock
from mirrorflow.flows.dual import Dual, Masses
from mirrorflow.flows.ensemble import Ensemble, Path
from mirrorflow.flows.pace import Counts, Index, Paced
from mirrorflow.flows.single import continue_alone
from mirrorflow.rowwise import positive_inverses
from mirrorflow.schedules import Schedule

__all__ = ["integrate_runs"]

LONG = 400  # steps after which a run is faster by LSODA, however many others there are
HEAVY = 1e6  # multiplications of a Hessian above which it is so sooner,
SOON = 100  # after these steps, or once it is stiff


@dataclass(slots=True)
class _Runs(Paced):
    """`state` is η."""

    log_p: Array
    log_q: Array
    rate: Array  # estimate of the slowest rate; nan before the penalty is over
    near: Array  # ‖η̇‖ at which to look for the limit
    far: Array  # rate × time to the next output above which to look for it at once

    @property
    def masses(self) -> Masses:
        return Masses(self.log_p, self.log_q)


def integrate_runs(
    dual: Dual,
    masses: Masses,
    schedules: Sequence[Schedule],
    outputs: Sequence[Array],
    rtol: float,
) -> Iterator[Path]:
    """η of every run at its finite times `outputs`, in the order in which they finish.

    Parameters
    ----------
    dual : Dual
    masses : Masses, (L, d), at A = 0
    schedules : sequence of Schedule, as many
    outputs : sequence of (T,) arrays, ascending, as many
    rtol : float
        Error of an exponent per step, and of finishing a run by its limit.
    """
    if not schedules or dual.r == 0:  # Z = 0 moves nothing
        for run, times in enumerate(outputs):
            yield Path(run, np.zeros((times.size, 0)), Counts(), "")
    else:
        yield from _DualEnsemble(dual, masses, schedules, outputs, rtol).integrate()


class _DualEnsemble(Ensemble[_Runs]):
    def __init__(
        self,
        dual: Dual,
        masses: Masses,
        schedules: Sequence[Schedule],
        outputs: Sequence[Array],
        rtol: float,
    ) -> None:
        (r, d), kept = dual.basis.shape, max(times.size for times in outputs)
        super().__init__(schedules, outputs, rtol, 8 * d + r * (20 + 3 * r + kept))
        self.dual, self.masses = dual, masses
        self.enough = 1.8 * np.sqrt(rtol)  # u for which linear decay is exact enough
        # LSODA forms a Hessian for a few steps in a hundred, Rodas5P for each
        self.heavy = r**2 * d > HEAVY
        self.ends = np.array([schedule.total_infinity for schedule in self.clock.schedules])
        self.near = self._load(range(0))  # about to be finished

    def start(self, runs: _Runs, h: Array, nodes: Array) -> _Start:
        totals = self.clock.totals(runs.plan, runs.t[:, None] + h[:, None] * nodes)
        return _Start(self.dual, self.clock, runs, totals, self.rtol)

    def begin(self, run: Index, plan: Index, line: Index) -> _Runs:
        L, masses, eta = run.size, self.masses.at(run), np.zeros((run.size, self.dual.r))
        return _Runs.at_zero(
            run,
            plan,
            line,
            eta,
            self.dual.derivative(eta, masses),
            log_p=masses.log_p,
            log_q=masses.log_q,
            rate=np.full(L, np.nan),
            near=np.zeros(L),
            far=np.zeros(L),
        )

    def set_out(self, runs: _Runs, at: Index) -> None:
        # a first step, or one behind a jump of α, is to change the exponents by some 1 %
        speed = np.abs(self.dual.bend(runs.slope[at])).max(1)
        speed += 4 * self.clock.alphas(runs.plan[at], runs.t[at, None])[:, 0]
        runs.h[at] = 1e-2 / np.maximum(speed, 1e-300)

    def pass_stop(self, runs: _Runs, at: Index) -> None:
        line, ahead = runs.line[at], self.stops.times[runs.line[at], runs.stop[at]]
        quiet = at[np.isnan(runs.rate[at]) & (runs.t[at] >= self.stops.settled[line])]
        if quiet.size:
            masses = self._final_masses(runs).at(quiet)
            _, H = self.dual.linearised(runs.state[quiet], masses)
            runs.factorizations[quiet] += 1
            H[~np.isfinite(H).all(axis=(1, 2))] = 0.0  # overflown: that run will fail
            runs.rate[quiet] = np.maximum(np.linalg.eigvalsh(H)[:, 0], 0.0)
            runs.near[quiet] = 1.2 * self.enough / self.dual.reach * runs.rate[quiet]
            runs.far[quiet] = -np.log(self.rtol)
        jump = runs.rate[at] * (ahead - runs.t[at]) > runs.far[at]
        runs.near[at[jump]] = np.inf

    def sort_out(self, runs: _Runs) -> _Runs:
        self._part(runs)
        near = np.linalg.norm(runs.slope, axis=1) <= runs.near
        self.near = self.near.join(runs.take(near & ~runs.over))
        return runs.take(~near & ~runs.over)

    def recall(self, explicit: _Runs, implicit: _Runs, idle: bool) -> tuple[_Runs, _Runs]:
        """Finish those near their limits; those for which it is too early go on."""
        near = self.near
        if near.run.size < (1 if idle else max(self.capacity // 8, 1)):
            return explicit, implicit
        self._finish(near)
        near = near.take(~near.over)
        self.near = near.take(near.over)
        return explicit.join(near.take(~near.stiff)), implicit.join(near.take(near.stiff))

    def _part(self, runs: _Runs) -> None:
        """Let the runs for which all others would have to wait go on alone."""
        slow = (runs.steps >= (SOON if self.heavy else LONG)) | (runs.stiff & self.heavy)
        for lane in np.flatnonzero(slow & ~runs.over):
            outputs, t = self.stops.outputs[runs.line[lane]], float(runs.t[lane])
            counts = runs.counts(lane)
            states, failure = continue_alone(
                self.dual,
                runs.masses.at(np.array([lane])),
                self.clock.schedules[runs.plan[lane]],
                t,
                runs.state[lane],
                outputs[outputs > t],
                self.rtol,
                counts,
            )
            self.states[int(runs.run[lane])].append(states)
            self.leave(runs, lane, failure)
            self.done[-1].counts = counts

    def _final_masses(self, runs: _Runs) -> Masses:
        """The masses e^{−4A_∞}p̄, e^{−4A_∞}q̄."""
        return runs.masses.after(self.ends[runs.plan])

    def _finish(self, runs: _Runs) -> None:
        """Finish the runs whose limit is near enough; tell the others when to ask again."""
        masses = self._final_masses(runs)
        limit, found, work = find_limits(self.dual, runs.state, masses, self.rtol)
        u = self.dual.reach * np.linalg.norm(runs.state - limit, axis=1)
        ahead = self.stops.times[runs.line, runs.stop] - runs.t
        runs.factorizations += work
        runs.far = np.where(found, u + 1 - np.log(self.rtol), np.inf)
        closer = np.where(found, 0.9 * self.enough / np.maximum(u, self.enough), 0.03)
        runs.near = closer * np.linalg.norm(runs.slope, axis=1)
        at = np.flatnonzero(found & ((u <= self.enough) | (10 * runs.rate * ahead > runs.far)))
        if at.size == 0:
            return
        masses = masses.at(at)
        tails = Tails.at(self.dual, limit[at], masses)
        runs.factorizations[at] += 1
        runs.rate[at] = tails.slowest
        error = finish_error(u[at], tails.slowest * ahead[at]) + tails.doubt
        error += self._rest(runs, at, tails, masses)
        for i in np.flatnonzero(error <= self.rtol):
            lane = at[i]
            outputs = self.stops.outputs[runs.line[lane]]
            later = outputs[outputs > runs.t[lane]] - runs.t[lane]
            self.states[int(runs.run[lane])].append(tails.states(i, runs.state[lane], later))
            self.leave(runs, lane)

    def _rest(self, runs: _Runs, at: Index, tails: Tails, masses: Masses) -> Array:
        """Bound of the error from what is left of the penalty, which the limits ignore."""
        pairs = zip(runs.plan[at], runs.t[at], strict=True)
        rest = np.array([4 * self.clock.schedules[i].remaining(float(t)) for i, t in pairs])
        p, q = self.dual.parts(tails.limit, masses)
        left = self.stops.last[runs.line[at]] - runs.t[at]
        return rest_error(rest, (p + q).sum(1), self.dual.reach, left)


class _Start:
    """The dual system from where `runs` stand; an error is the largest one of an exponent."""

    def __init__(
        self, dual: Dual, clock: Clock, runs: _Runs, totals: Array, tolerance: float
    ) -> None:
        self.dual, self.clock, self.runs, self.masses = dual, clock, runs, runs.masses
        self.totals, self.tolerance = totals, tolerance

    def derivative(self, stage: int, eta: Array) -> Array:
        return self.dual.derivative(eta, self.masses.after(self.totals[:, stage]))

    def drift(self) -> Array:
        # only A depends on time: ∂η̇/∂t = 4α σ ⊙ Vx
        alpha = self.clock.alphas(self.runs.plan, self.runs.t[:, None])
        return 4.0 * alpha * (self.dual.target - self.runs.slope)

    def solver(self, shift: Array) -> Callable[[Array], Array]:
        _, H = self.dual.linearised(self.runs.state, self.masses.after(self.totals[:, 0]))
        r = self.dual.r
        H[:, range(r), range(r)] += shift[:, None]
        inverse = positive_inverses(H)
        return lambda b: np.matmul(inverse, b[:, :, None])[:, :, 0]

    def size(self, error: Array) -> Array:
        return np.abs(self.dual.bend(error)).max(1) / self.tolerance
