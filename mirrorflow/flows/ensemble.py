r"""Many runs of the dual system at once, each with a step size of its own.

Runs advance together, one step each per round, because the cost of a round is in a few matrix
products. A run starts explicit; where the step is held down by stability alone it continues with
Rodas5P. Once its penalty is over, it is finished by linear decay towards its limit as soon as the
bound of `arrival` allows. Whoever is through makes room for a waiting run, so that memory is
bounded. The last few go on alone, by LSODA, as do stiff runs whose Hessians are large: there is
nothing to share any more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mirrorflow.checks import Array
from mirrorflow.factors import Factors
from mirrorflow.flows.arrival import Tails, find_limits, finish_error, rest_error
from mirrorflow.flows.dual import Clock, Dual, Masses
from mirrorflow.flows.rosenbrock import Counts
from mirrorflow.flows.single import continue_alone
from mirrorflow.flows.stepping import Explicit, Implicit, Method, Points
from mirrorflow.flows.stops import Stops
from mirrorflow.schedules import Schedule

__all__ = ["Path", "integrate_runs"]

Index = NDArray[np.intp]
MOST_CALLS = 500_000  # right-hand sides of one run
ROOM = 2**26  # bytes for the arrays of the runs under way
WIDEST = 512  # runs under way: more no longer save time
STIFF = 0.3  # times rtol^(1/5): relative change of η̇ in a step that stability holds down
PATIENCE = 3  # such steps in a row
FEW = 16  # runs under way for which LSODA, one after the other, is no slower
HEAVY = 1e6  # multiplications of a Hessian above which that holds for stiff runs in any number


@dataclass(slots=True)
class Path:
    """What became of one run: η at its output times, as far as it came."""

    run: int
    states: Array  # (outputs reached, r)
    masses: Masses  # at A = 0, (1, d)
    counts: Counts
    failure: str


@dataclass(slots=True)
class _Runs:
    """State of L runs; every field has the runs along its first axis."""

    run: Index
    plan: Index  # which schedule
    line: Index  # which line of stops
    t: Array
    h: Array
    eta: Array
    slope: Array
    log_p: Array
    log_q: Array
    stop: Index  # number of the stop ahead
    previous: Array  # size of the last error
    rejected: NDArray[np.bool_]  # whether the last step was
    held: Index  # steps in a row held down by stability
    stiff: NDArray[np.bool_]  # whether Rodas5P has taken over
    steps: Index
    derivatives: Index
    factorizations: Index
    rate: Array  # estimate of the slowest rate; nan before the penalty is over
    near: Array  # ‖η̇‖ at which to look for the limit
    far: Array  # rate × time to the next output above which to look for it at once
    over: NDArray[np.bool_]

    @classmethod
    def start(cls, run: Index, plan: Index, line: Index, masses: Masses, dual: Dual) -> _Runs:
        """Runs at t = 0, about to arrive at stop 0."""
        L, eta = run.size, np.zeros((run.size, dual.r))

        def filled(value: float | bool) -> NDArray:
            return np.full(L, value, dtype=np.array(value).dtype)

        return cls(
            run=run,
            plan=plan,
            line=line,
            t=filled(0.0),
            h=filled(0.0),
            eta=eta,
            slope=dual.derivative(eta, masses),
            log_p=masses.log_p,
            log_q=masses.log_q,
            stop=filled(0),
            previous=filled(1.0),
            rejected=filled(False),
            held=filled(0),
            stiff=filled(False),
            steps=filled(0),
            derivatives=filled(1),
            factorizations=filled(0),
            rate=filled(np.nan),
            near=filled(0.0),
            far=filled(0.0),
            over=filled(False),
        )

    @property
    def points(self) -> Points:
        return Points(self.t, self.eta, self.slope, Masses(self.log_p, self.log_q), self.plan)

    def take(self, chosen: NDArray[np.bool_]) -> _Runs:
        if chosen.all():
            return self
        return _Runs(*(getattr(self, f.name)[chosen] for f in dataclasses.fields(self)))

    def join(self, other: _Runs) -> _Runs:
        names = [f.name for f in dataclasses.fields(self)]
        return _Runs(*(np.concatenate([getattr(self, n), getattr(other, n)]) for n in names))


def integrate_runs(
    dual: Dual,
    factors_list: Sequence[Factors],
    schedules: Sequence[Schedule],
    outputs: Sequence[Array],
    rtol: float,
) -> Iterator[Path]:
    """η of every run at its finite times `outputs`, in the order in which they finish.

    Parameters
    ----------
    dual : Dual
    factors_list, schedules : sequences of equal length
    outputs : sequence of (T,) arrays, ascending, as many
    rtol : float
        Error of an exponent per step, and of finishing a run by its limit.
    """
    if not factors_list or dual.r == 0:  # Z = 0 moves nothing
        for run, factors in enumerate(factors_list):
            states, masses = np.zeros((outputs[run].size, 0)), Masses.of([factors], factors.d)
            yield Path(run, states, masses, Counts(), "")
    else:
        yield from _Ensemble(dual, factors_list, schedules, outputs, rtol).integrate()


class _Ensemble:
    def __init__(
        self,
        dual: Dual,
        factors_list: Sequence[Factors],
        schedules: Sequence[Schedule],
        outputs: Sequence[Array],
        rtol: float,
    ) -> None:
        self.dual, self.factors, self.rtol = dual, factors_list, rtol
        self.clock = Clock(schedules)
        self.stops = Stops(self.clock, outputs, rtol)
        self.explicit = Explicit(dual, self.clock, rtol)
        self.implicit = Implicit(dual, self.clock, rtol)
        self.enough = 1.8 * np.sqrt(rtol)  # u for which linear decay is exact enough
        self.states: dict[int, list[Array]] = {}
        self.done: list[Path] = []
        kept = max(times.size for times in self.stops.outputs)
        per_run = 8 * (8 * dual.basis.shape[1] + dual.r * (20 + 3 * dual.r + kept))
        # LSODA forms a Hessian for a few steps in a hundred, Rodas5P for each
        self.heavy = dual.r**2 * dual.basis.shape[1] > HEAVY
        self.capacity = int(np.clip(ROOM // per_run, 1, WIDEST))

    def integrate(self) -> Iterator[Path]:
        waiting, total = 0, len(self.factors)
        explicit = implicit = near = self._load(range(0))  # near: about to be finished
        while waiting < total or explicit.run.size or implicit.run.size or near.run.size:
            busy = waiting < total or explicit.run.size > 0
            few = waiting == total and explicit.run.size + implicit.run.size <= FEW
            settling = few or not (busy or implicit.run.size)
            if near.run.size >= (1 if settling else max(self.capacity // 8, 1)):
                self._finish(near)
                near = near.take(~near.over)
                explicit, implicit = (
                    explicit.join(near.take(~near.stiff)),
                    implicit.join(near.take(near.stiff)),
                )
                near = near.take(near.over)
            elif few or (self.heavy and implicit.run.size):
                self._part(implicit.join(explicit) if few else implicit)
                implicit = implicit.take(implicit.over)
                explicit = explicit.take(explicit.over | (not few))
            elif busy and implicit.run.size < self.capacity:
                room = self.capacity - explicit.run.size
                if 4 * room >= self.capacity and waiting < total:
                    upto = min(waiting + room, total)
                    explicit, waiting = explicit.join(self._load(range(waiting, upto))), upto
                explicit, arriving = self._round(explicit, self.explicit)
                near = near.join(arriving)
                implicit, explicit = (
                    implicit.join(explicit.take(explicit.stiff)),
                    explicit.take(~explicit.stiff),
                )
            else:
                implicit, arriving = self._round(implicit, self.implicit)
                near = near.join(arriving)
            yield from self.done
            self.done.clear()

    def _part(self, runs: _Runs) -> None:
        """Let each of the last few runs go on alone."""
        for lane, run in enumerate(runs.run):
            outputs, t = self.stops.outputs[runs.line[lane]], float(runs.t[lane])
            counts, masses = self._counts(runs, lane), self._masses(runs, lane)
            states, failure = continue_alone(
                self.dual,
                masses,
                self.clock.schedules[runs.plan[lane]],
                t,
                runs.eta[lane],
                outputs[outputs > t],
                self.rtol,
                counts,
            )
            self.states[run].append(states)
            self._conclude(int(run), masses, counts, failure)

    def _load(self, numbers: range) -> _Runs:
        run = np.array(numbers, dtype=np.intp)
        for i in numbers:
            self.states[i] = []
        masses = Masses.of([self.factors[i] for i in numbers], self.dual.basis.shape[1])
        runs = _Runs.start(run, self.clock.plan[run], self.stops.line[run], masses, self.dual)
        self._arrive(runs, np.arange(run.size))
        return runs.take(~runs.over)

    def _round(self, runs: _Runs, method: Method) -> tuple[_Runs, _Runs]:
        """One step of every run: those under way after it and those near their limit."""
        landed = self._step(runs, method)
        if landed.any():
            self._arrive(runs, np.flatnonzero(landed))
        self._give_up(runs)
        near = np.linalg.norm(runs.slope, axis=1) <= runs.near
        return runs.take(~near & ~runs.over), runs.take(near & ~runs.over)

    def _step(self, runs: _Runs, method: Method) -> NDArray[np.bool_]:
        """One step of every run; whether it ended on a stop."""
        stop = self.stops.times[runs.line, runs.stop]
        left = stop - runs.t
        # stretch by a little, or halve, rather than leave a sliver of a step
        last = runs.h * 1.01 >= left
        h = np.where(last, left, np.where(2 * runs.h > left, 0.5 * left, runs.h))
        with np.errstate(over="ignore", invalid="ignore"):  # a wild trial step is rejected
            eta, slope, error = method.step(runs.points, h)
        taken = error <= 1.0  # false for nan

        # Gustafsson's predictive controller, as in Hairer and Wanner's RODAS
        size = np.maximum(np.where(np.isfinite(error), error, 1e10), 1e-10)
        factor = 0.9 * size ** (-1.0 / method.order)
        factor *= np.where(taken, np.minimum(1.0, (runs.previous / size) ** 0.1), 1.0)
        most = np.where(runs.rejected, 1.0, method.growth)
        factor = np.where(taken, np.clip(factor, 0.2, most), np.clip(factor, 0.1, 0.9))
        # a step shortened for a stop says nothing against the size that was in use
        shortened = taken & (h < runs.h) & (factor >= 1.0)
        following = np.where(shortened, np.maximum(runs.h, h * factor), h * factor)

        # held down by stability: the slope hardly changes and yet the step can't grow
        change = np.linalg.norm(slope - runs.slope, axis=1)
        slow = change <= STIFF * self.rtol**0.2 * np.linalg.norm(slope, axis=1)
        slow &= ~shortened & (factor < 2.0) & (self.stops.last[runs.line] - runs.t > 20 * h)
        runs.held = np.where(taken, np.where(slow, runs.held + 1, 0), runs.held)
        runs.stiff |= runs.held >= PATIENCE

        landed = taken & last
        runs.t = np.where(landed, stop, np.where(taken, runs.t + h, runs.t))
        runs.h = following
        runs.eta = np.where(taken[:, None], eta, runs.eta)
        runs.slope = np.where(taken[:, None], slope, runs.slope)
        runs.previous = np.where(taken, np.maximum(size, 1e-4), runs.previous)
        runs.rejected = ~taken
        runs.steps += taken
        runs.derivatives += method.derivatives
        runs.factorizations += method.factorizations
        return landed

    def _arrive(self, runs: _Runs, at: Index) -> None:
        """Note the states of the runs `at`, which stand on a stop, and head for the next one."""
        line, stop = runs.line[at], runs.stop[at]
        output = self.stops.is_output[line, stop]
        for lane in at[output]:
            self.states[runs.run[lane]].append(runs.eta[lane : lane + 1].copy())
        ahead = self.stops.times[line, stop + 1]
        for lane in at[np.isinf(ahead)]:
            self._leave(runs, lane)
        runs.stop[at] += 1
        fresh = at[~output | (stop == 0)]
        if fresh.size:
            # a first step, or one behind a jump of α, is to change the exponents by some 1 %
            speed = np.abs(self.dual.bend(runs.slope[fresh])).max(1)
            speed += 4 * self.clock.alphas(runs.plan[fresh], runs.t[fresh])
            runs.h[fresh] = 1e-2 / np.maximum(speed, 1e-300)
            runs.held[fresh] = 0
        quiet = at[np.isnan(runs.rate[at]) & (runs.t[at] >= self.stops.settled[line])]
        if quiet.size:
            masses = self._final_masses(runs).at(quiet)
            _, H = self.dual.linearised(runs.eta[quiet], masses)
            runs.factorizations[quiet] += 1
            runs.rate[quiet] = np.maximum(np.linalg.eigvalsh(H)[:, 0], 0.0)
            runs.near[quiet] = 1.2 * self.enough / self.dual.reach * runs.rate[quiet]
            runs.far[quiet] = -np.log(self.rtol)
        with np.errstate(invalid="ignore"):
            jump = runs.rate[at] * (ahead - runs.t[at]) > runs.far[at]
        runs.near[at[jump]] = np.inf

    def _final_masses(self, runs: _Runs) -> Masses:
        """The masses e^{−4A_∞}p̄, e^{−4A_∞}q̄."""
        ends = np.array([schedule.total_infinity for schedule in self.clock.schedules])
        return Masses(runs.log_p, runs.log_q).after(ends[runs.plan])

    def _finish(self, runs: _Runs) -> None:
        """Finish the runs whose limit is near enough; tell the others when to ask again."""
        masses = self._final_masses(runs)
        limit, found, work = find_limits(self.dual, runs.eta, masses, self.rtol)
        u = self.dual.reach * np.linalg.norm(runs.eta - limit, axis=1)
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
            self.states[runs.run[lane]].append(tails.states(i, runs.eta[lane], later))
            self._leave(runs, lane)

    def _rest(self, runs: _Runs, at: Index, tails: Tails, masses: Masses) -> Array:
        """Bound of the error from what is left of the penalty, which the limits ignore."""
        pairs = zip(runs.plan[at], runs.t[at], strict=True)
        rest = np.array([4 * self.clock.schedules[i].remaining(float(t)) for i, t in pairs])
        p, q = self.dual.parts(tails.limit, masses)
        left = self.stops.last[runs.line[at]] - runs.t[at]
        return rest_error(rest, (p + q).sum(1), self.dual.reach, left)

    def _give_up(self, runs: _Runs) -> None:
        tiny = runs.h <= 4 * np.spacing(runs.t)
        long = runs.derivatives > MOST_CALLS
        for lane in np.flatnonzero((tiny | long) & ~runs.over):
            reason = (
                f"more than {MOST_CALLS} right-hand sides were needed to pass"
                if long[lane]
                else f"the step size fell to {runs.h[lane]:.1e} at"
            )
            self._leave(runs, lane, f"{reason} t = {runs.t[lane]:.6g}")

    def _leave(self, runs: _Runs, lane: int | np.intp, failure: str = "") -> None:
        runs.over[lane] = True
        counts, masses = self._counts(runs, lane), self._masses(runs, lane)
        self._conclude(int(runs.run[lane]), masses, counts, failure)

    def _conclude(self, run: int, masses: Masses, counts: Counts, failure: str) -> None:
        states = np.concatenate([np.empty((0, self.dual.r)), *self.states.pop(run)])
        self.done.append(Path(run, states, masses, counts, failure))

    def _counts(self, runs: _Runs, lane: int | np.intp) -> Counts:
        return Counts(
            steps=int(runs.steps[lane]),
            derivatives=int(runs.derivatives[lane]),
            factorizations=int(runs.factorizations[lane]),
        )

    def _masses(self, runs: _Runs, lane: int | np.intp) -> Masses:
        return Masses(runs.log_p, runs.log_q).at(np.array([lane]))
