"""Colours of methods, schedules and quantities, the same in every figure and page.

Okabe and Ito's, safe for colour-blind readers; line styles and markers repeat what they say.
"""

__all__ = ["BLACK", "METHODS", "PALETTE", "QUANTITIES", "SCHEDULES", "SOFT"]

BLACK, SOFT = "#000000", "#666666"  # SOFT: guides, bounds, captions
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY = "#E69F00", "#56B4E9"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)  # of what is in no table below

METHODS = {
    "dense": BLACK,
    "pilot": VERMILION,
    "spred": BLUE,
    "lasso": GREEN,
    "mask-l1": PURPLE,
    "str": SKY,
    "powerprop": ORANGE,
    "ham": "#117733",
    "rigl": "#661100",
    "continuous": "#7F7F7F",
}
SCHEDULES = {
    "none": BLACK,
    "constant": BLUE,
    "quadratic": VERMILION,
    "geometric": GREEN,
    "harmonic": PURPLE,
}
QUANTITIES = {
    "limit": BLACK,  # what is predicted exactly
    "flow": VERMILION,
    "steps": ORANGE,  # gradient descent and what it leads to
    "potential": SKY,  # R and its level sets
    "l1": GREEN,
    "l2": PURPLE,
}
