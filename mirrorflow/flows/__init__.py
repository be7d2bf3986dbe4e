"""Gradient flow in continuous time: by the dual system, one run or many, and by (m, w) itself."""

from mirrorflow.flows.direct import direct_flow, direct_flows
from mirrorflow.flows.gradient import gradient_flow, gradient_flows
from mirrorflow.flows.trajectory import RTOL_RANGE, Flow

__all__ = ["RTOL_RANGE", "Flow", "direct_flow", "direct_flows", "gradient_flow", "gradient_flows"]
