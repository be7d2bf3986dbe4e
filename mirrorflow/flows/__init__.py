"""Gradient flow in continuous time: by the dual system and by (m, w) itself, one run or many."""

from mirrorflow.flows.gradient import direct_flow, direct_flows, gradient_flow, gradient_flows
from mirrorflow.flows.trajectory import RTOL_RANGE, Flow

__all__ = ["RTOL_RANGE", "Flow", "direct_flow", "direct_flows", "gradient_flow", "gradient_flows"]
