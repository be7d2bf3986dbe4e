"""Carries independent pieces of work to processes, here or on a cluster, and back."""

from mirrorflow.execution.base import Crew
from mirrorflow.execution.carrying import Failure, carry
from mirrorflow.execution.crews import crew
from mirrorflow.execution.orphans import end_with
from mirrorflow.execution.stopping import Stopped, stoppable

__all__ = ["Crew", "Failure", "Stopped", "carry", "crew", "end_with", "stoppable"]
