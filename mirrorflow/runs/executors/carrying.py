"""Pieces of work go out and come back; what raises, or takes its worker with it, is tried again."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, replace
from threading import Lock
from traceback import format_exc, format_exception
from typing import Any, NamedTuple, TypeVar

from mirrorflow.checks import InputError
from mirrorflow.runs.executors.base import Crew

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

    A piece that raises three times, or is refused once, is cut into its items, each of which has
    one attempt left. A worker that dies takes down what it had; which piece was to blame is not
    known, so that all that were under way are repeated at the end, one by one. None of this
    changes a result that depends on its piece alone.

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
        room = crew.room
        while waiting and len(under_way) < room:
            piece = waiting.popleft()
            under_way[crew.submit(_attempt, compute, piece.items)] = piece, crew.generation
        if not under_way:
            piece = replace(suspects.popleft(), alone=True)
            under_way[crew.submit(_attempt, compute, piece.items)] = piece, crew.generation
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            piece, generation = under_way.pop(future)
            error = _error(future)
            died = error is not None and _died(crew, error)
            if died:
                crew.renew(generation)
                if not piece.alone:
                    suspects.append(piece)
                    continue
            elif error is None and not isinstance(future.result(), Failure):
                yield piece.items, future.result()
                continue
            attempts = piece.attempts + 1
            if error is None:
                failure = future.result()._replace(attempts=attempts)
            else:
                said = DIED.format(attempts) if died else "".join(format_exception(error, limit=-3))
                failure = Failure(said, attempts, False)
            final = failure.refused or attempts >= TRIES
            if final and len(piece.items) == 1:
                yield piece.items, failure
            elif final:
                waiting += [_Piece([item], TRIES - 1) for item in piece.items]
            else:
                again = replace(piece, attempts=attempts, alone=False)
                (suspects if died else waiting).append(again)


def _died(crew: Crew, error: BaseException) -> bool:
    """Whether a worker did; raises InputError where no other can do better."""
    judgement = crew.judge(error)
    if judgement == "gone":
        raise InputError("The cluster's scheduler is gone; finished runs are kept.") from error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError):
            raise InputError(
                f"The workers can't import {cause.name}; install what is installed here there too."
            ) from error
        cause = cause.__cause__
    return judgement == "died"


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
        return Failure(format_exc(limit=-3), 1, False)
