"""What all workers have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal

__all__ = ["Crew"]


class Crew(ABC):
    """Takes a call, gives a future.

    Attributes
    ----------
    generation : int
        How often the workers have been replaced.
    """

    generation = 0

    @property
    @abstractmethod
    def room(self) -> int:
        """How many calls to have under way."""

    @abstractmethod
    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Start a call."""

    def judge(self, error: BaseException) -> Literal["raised", "died", "gone"]:
        """What a future's exception says: of the call, of its worker, or of all workers."""
        return "raised"

    def renew(self, generation: int) -> None:  # noqa: B027  # most crews do it themselves
        """Replace the workers of that generation, after one of them died."""

    @abstractmethod
    def dismiss(self) -> None:
        """End at once; what is under way is lost."""
