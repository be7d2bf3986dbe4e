"""Gradient flow in continuous time: by the dual system, by θ itself, and from small starts."""

from mirrorflow.flows.gradient import direct_flow, direct_flows, gradient_flow, gradient_flows
from mirrorflow.flows.saddles import SaddlePath, saddle_path
from mirrorflow.flows.trajectory import RTOL_RANGE, Flow

__all__ = ["RTOL_RANGE", "Flow", "SaddlePath", "direct_flow", "direct_flows", "gradient_flow"]
__all__ += ["gradient_flows", "saddle_path"]
