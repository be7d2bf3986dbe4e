"""Pieces of work go out and come back; what raises, or takes its worker with it, is tried again."""

from __future__ import annotations

import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from mirrorflow.checks import InputError
from mirrorflow.execution.crews import Crew

__all__ = ["TRIES", "Failure", "carry"]

TRIES = 3
DIED = "The process that computed it died {} times; was it killed, or out of memory?"

Item = TypeVar("Item")
Result = TypeVar("Result")
Compute = Callable[[Sequence[Any]], Sequence[Any]]


class Failure(NamedTuple):
    """Why an item has no result.

    Attributes
    ----------
    message : str
        A sentence where `refused`, otherwise the end of the traceback.
    attempts : int
    refused : bool
        Whether an InputError said so, at once; nothing else is final before three attempts.
    """

    message: str
    attempts: int
    refused: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    items: Sequence[Any]
    attempts: int = 0
    alone: bool = False  # it was under way when a worker died: is it the one that kills?


def carry(
    compute: Callable[[Sequence[Item]], Sequence[Result]],
    pieces: Iterable[Sequence[Item]],
    crew: Crew,
) -> Iterator[tuple[Sequence[Item], Sequence[Result] | Failure]]:
    """Compute every piece; yields each with its results, or why there are none, as it ends.

    A piece that raises three times is cut into its items, each of which has one attempt left. A
    worker that dies takes down what it had; which piece was to blame is not known, so that all
    that were under way are repeated at the end, one by one. None of this changes a result that
    depends on its piece alone.

    Parameters
    ----------
    compute : callable
        compute(items) -> results, in the same order; sent to the workers, so a function of a
        module or a `functools.partial` of one.
    pieces : iterable of sequences
    crew : Crew
        Who computes.
    """
    waiting = deque(_Piece(items) for items in pieces)
    suspects: deque[_Piece] = deque()
    under_way: dict[Future[Any], tuple[_Piece, int]] = {}
    while waiting or suspects or under_way:
        while waiting and len(under_way) < crew.room:
            piece = waiting.popleft()
            under_way[crew.submit(_attempt, compute, piece.items)] = piece, crew.generation
        if not under_way:
            piece = replace(suspects.popleft(), alone=True)
            under_way[crew.submit(_attempt, compute, piece.items)] = piece, crew.generation
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            piece, generation = under_way.pop(future)
            died = _error(future)
            if died is not None and not crew.is_death(died):
                raise died
            if died is None and not isinstance(future.result(), Failure):
                yield piece.items, future.result()
                continue
            if died is not None and not piece.alone:
                suspects.append(piece)
            else:
                attempts = piece.attempts + 1
                outcome = Failure(DIED.format(attempts), attempts, False)
                if died is None:
                    outcome = future.result()._replace(attempts=attempts)
                if outcome.refused or (attempts >= TRIES and len(piece.items) == 1):
                    yield piece.items, outcome
                elif attempts >= TRIES:
                    waiting += [_Piece([item], TRIES - 1) for item in piece.items]
                else:
                    again = replace(piece, attempts=attempts, alone=False)
                    (suspects if died is not None else waiting).append(again)
            if died is not None:
                crew.renew(generation)


def _error(future: Future[Any]) -> BaseException | None:
    try:
        return future.exception()
    except CancelledError as error:
        return error


# a worker of a cluster may have several threads; LSODA isn't reentrant, and how many threads BLAS
# takes is set for the process
_one_at_a_time = Lock()


def _attempt(compute: Compute, items: Sequence[Any]) -> Sequence[Any] | Failure:
    try:
        with _one_at_a_time, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said once, when the work was set up
            return compute(items)
    except InputError as error:
        return Failure(str(error), 1, True)
    except Exception:  # one broken run must not take the others down; it is reported by name
        return Failure(traceback.format_exc(limit=-3), 1, False)
