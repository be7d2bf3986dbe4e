"""Executors of independent pieces of work, here or on a cluster."""

from mirrorflow.runs.executors.base import Crew
from mirrorflow.runs.executors.carrying import Failure, carry
from mirrorflow.runs.executors.crews import crew

__all__ = ["Crew", "Failure", "carry", "crew"]
