"""Gradient flow in continuous time: by the dual system, by θ itself, and from small starts."""

from mirrorflow.flows.controlled import controlled_flow
from mirrorflow.flows.gradient import direct_flow, direct_flows, gradient_flow, gradient_flows
from mirrorflow.flows.margins import MarginFlow, margin_flow
from mirrorflow.flows.momentum import MomentumFlow, momentum_flow
from mirrorflow.flows.saddles import SaddlePath, saddle_path
from mirrorflow.flows.softmax import softmax_flow
from mirrorflow.flows.trajectory import RTOL_RANGE, Flow

__all__ = ["RTOL_RANGE", "Flow", "SaddlePath", "direct_flow", "direct_flows", "gradient_flow"]
__all__ += ["MarginFlow", "MomentumFlow", "gradient_flows", "margin_flow", "momentum_flow"]
__all__ += ["controlled_flow", "saddle_path", "softmax_flow"]
