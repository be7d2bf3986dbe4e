"""Execution of independent pieces of work, here or on a cluster, and the commands around it."""

from mirrorflow.execution.base import Crew
from mirrorflow.execution.carrying import Failure, carry
from mirrorflow.execution.commands import command
from mirrorflow.execution.crews import crew
from mirrorflow.execution.orphans import end_with
from mirrorflow.execution.stopping import Stopped, stoppable

__all__ = ["Crew", "Failure", "Stopped", "carry", "command", "crew", "end_with", "stoppable"]
