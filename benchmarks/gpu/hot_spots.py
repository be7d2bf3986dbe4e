"""Where the time of a training step goes, kernel by kernel."""

from __future__ import annotations

from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.speed import fastest
from benchmarks.vision_parts import WARM_UP, Setting
from mirrorflow.results import Row

__all__ = ["measure"]


def measure(setting: Setting, name: str = "pilot", steps: int = 20, longest: int = 20) -> Row:
    """Profile `steps` training steps of a method.

    Returns
    -------
    dict
        `step_milliseconds`, the profiled kernels' time per step (of operators on a CPU), and
        `kernels`, the `longest` of them: `name`, `calls` and `microseconds` per step, `share`.
    """
    cuda = setting.device.type == "cuda"
    mode = fastest(setting.device)
    advance = setting.step(setting.trainer(name, mode), mode)
    for _ in range(WARM_UP):
        advance()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with profile(activities=activities) as seen:
        for _ in range(steps):
            advance()
        if cuda:
            torch.cuda.synchronize(setting.device)

    def microseconds(event: Any) -> float:
        return float(event.self_device_time_total if cuda else event.self_cpu_time_total)

    # an operator on the host is charged with the kernels that it starts: count those alone
    kind = "CUDA" if cuda else "CPU"
    events = [event for event in seen.key_averages() if event.device_type.name == kind]
    events.sort(key=microseconds, reverse=True)
    total = sum(map(microseconds, events))
    kernels = [
        {
            "name": event.key[:120],
            "calls": event.count / steps,
            "microseconds": microseconds(event) / steps,
            "share": microseconds(event) / total if total else 0.0,
        }
        for event in events[:longest]
    ]
    return {
        "method": name,
        "mode": mode.words,
        "steps": steps,
        "step_milliseconds": 1e-3 * total / steps,
        "kernels": kernels,
    }
