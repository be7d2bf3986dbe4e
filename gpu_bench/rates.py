"""Learning rates of all steps of a run."""

from __future__ import annotations

import numpy as np

from mirrorflow.checks import Array, InputError, number

__all__ = ["SCHEDULES", "learning_rates"]

SCHEDULES = ("cosine", "step", "constant")
FALLS = (1 / 2, 3 / 4)  # of the run, where the step schedule falls to a tenth


def learning_rates(
    peak: float, schedule: str, epochs: int, steps_per_epoch: int, warmup: float
) -> Array:
    """Return η_k of every step, shape (epochs · steps_per_epoch,).

    Linear warm-up from 0 over the first `warmup` epochs (the last of its steps reaches `peak`),
    then

        cosine    ½ peak (1 + cos πs), s from 0 to 1 over the steps that are left
        step      peak, peak/10 from 1/2 of the whole run on, peak/100 from 3/4 on
        constant  peak

    Raises
    ------
    InputError
        If the schedule is unknown or the warm-up is longer than the run.
    """
    if schedule not in SCHEDULES:
        raise InputError(f"--schedule must be one of {', '.join(SCHEDULES)}, not {schedule!r}.")
    number("--warmup", warmup, 0.0, epochs)
    steps = epochs * steps_per_epoch
    rising = min(round(warmup * steps_per_epoch), steps)
    k = np.arange(steps)
    if schedule == "cosine":
        shape = 0.5 * (1.0 + np.cos(np.pi * (k - rising) / max(steps - rising, 1)))
    elif schedule == "step":
        shape = np.prod([np.where(k >= fall * steps, 0.1, 1.0) for fall in FALLS], axis=0)
    else:
        shape = np.ones(steps)
    rates: Array = peak * np.where(k < rising, (k + 1) / max(rising, 1), shape)
    return rates
