# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bring your own parametrization
#
# Gradient flow on $x = g(\theta)$ is a mirror flow in $x$, for every loss, if the gradients of
# $g$'s coordinates commute; if their brackets leave the kernel of $\partial g$ it is none
# (Li, Wang, Lee, Arora 2022; Lemma C.1 of the paper's arXiv v1). Give any $g$ in torch operations:
# three functions judge it by Lie brackets, and flows show what the verdict means.

# %%
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import root

import mirrorflow as mf
from mirrorflow import plots
from mirrorflow.commuting import brackets_in_kernel, commutes, regularizer_commutes

plt.rcParams.update(plots.STYLE)
pd.options.display.float_format = "{:.1e}".format
pd.options.display.width = 180

# %% [markdown]
# ## 1. Verdicts
#
# `commutes` is sufficient for a mirror flow, `brackets_in_kernel` necessary, and
# `regularizer_commutes(g, h)` says whether a penalty $\alpha_t h(\theta)$ only makes the potential
# depend on time; here $h = \|\theta\|^2$, weight decay. Replace `mine` by your own map.

# %%
Q = torch.linalg.qr(torch.tensor(np.random.default_rng(0).standard_normal((4, 4))))[0]


def product(theta):  # the paper's m ⊙ w
    m, w = theta.chunk(2)
    return m * w


def squares(theta):
    u, v = theta.chunk(2)
    return u**2 - v**2


def cubes(theta):
    u, v = theta.chunk(2)
    return u**3 - v**3


def gate(theta):  # a sigmoid mask on every weight
    x, s = theta.chunk(2)
    return x * torch.sigmoid(s)


def neuron(theta):  # one mask for the whole neuron
    return theta[0] * theta[1:]


def weight_norm(theta):
    return theta[0] * theta[1:] / torch.linalg.vector_norm(theta[1:])


def two_layers(theta):  # a product of two 2 × 2 matrices
    return (theta[:4].reshape(2, 2) @ theta[4:].reshape(2, 2)).reshape(-1)


def mine(theta):  # your own: coordinates bent along the axes of a rotation
    return Q @ torch.sinh(Q.T @ theta)


def decay(theta):
    return (theta**2).sum()


maps = {
    "m ⊙ w": (product, 8),
    "u² − v²": (squares, 8),
    "u³ − v³": (cubes, 8),
    "x ⊙ σ(s)": (gate, 8),
    "m·w, one m (neuron-wise mask)": (neuron, 5),
    "s·v/‖v‖ (weight normalisation)": (weight_norm, 5),
    "A·B (two layers)": (two_layers, 8),
    "Q sinh(Qᵀθ) (mine)": (mine, 4),
}
rows = {}
for name, (g, dim) in maps.items():
    checks = commutes(g, dim), brackets_in_kernel(g, dim), regularizer_commutes(g, decay, dim)
    words = ["yes" if c.holds else f"no ({c.value:.1f})" for c in checks]
    mirror = "yes" if checks[0].holds else ("open" if checks[1].holds else "no")
    rows[name] = [*words, mirror]
columns = ["gradients commute", "brackets in ker ∂g", "‖θ‖² commutes", "mirror flow"]
pd.DataFrame.from_dict(rows, orient="index", columns=columns)

# %% [markdown]
# In brackets: the size of the bracket relative to its terms. Every map that acts on each coordinate
# alone commutes. Weight decay commutes with it where $g$ is homogeneous of degree 2, as
# $m \odot w$ and $u^2 - v^2$ are: hence the paper's penalty
# $\|m\|^2 + \|w\|^2$.

# %%
pd.DataFrame(
    [
        regularizer_commutes(product, decay, 8),
        regularizer_commutes(product, lambda theta: (theta[:4] ** 2).sum(), 8),
        regularizer_commutes(cubes, lambda theta: (theta**3).sum(), 8),
    ],
    index=["m ⊙ w, ‖m‖² + ‖w‖²", "m ⊙ w, ‖m‖² alone", "u³ − v³, Σ(u³ + v³)"],
)

# %% [markdown]
# ## 2. What a bracket is: the parallelogram that doesn't close
#
# Flow along $-\nabla g_1$ for time s, then along $-\nabla g_2$; or in the other order. The end
# points differ by $s^2\,[\nabla g_1, \nabla g_2]$ to leading order.

# %%
rtol = 1e-10


def along(g, i, theta, span):
    """θ after flowing along −∇g_i for some time."""

    def velocity(_, state):
        point = torch.tensor(state, requires_grad=True)
        g(point)[i].backward()
        return -point.grad.numpy()

    return solve_ivp(velocity, (0.0, span), theta, "DOP853", rtol=1e-12, atol=1e-14).y[:, -1]


def bracket(g, theta):
    """[∇g₁, ∇g₂] at θ."""
    J = torch.func.jacrev(g)
    H = torch.func.jacrev(J)
    point = torch.tensor(theta)
    (first, second), (H1, H2) = J(point)[:2], H(point)[:2]
    return (H2 @ first - H1 @ second).numpy()


theta = np.array([0.8, 0.5, -0.6, 0.4, 0.7, -0.3, 0.9, 0.2])
spans = np.geomspace(1e-3, 0.3, 8)
fig, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
looks = [("#0072B2", "o"), ("#009E73", "^"), ("#D55E00", "s"), ("#CC79A7", "D")]
names = ["m ⊙ w", "u³ − v³", "m·w, one m (neuron-wise mask)", "s·v/‖v‖ (weight normalisation)"]
for name, (colour, marker) in zip(names, looks, strict=True):
    g, dim = maps[name]
    at = theta[:dim]
    gaps = [
        np.linalg.norm(along(g, 1, along(g, 0, at, s), s) - along(g, 0, along(g, 1, at, s), s))
        for s in spans
    ]
    size = np.linalg.norm(bracket(g, at))
    axes.loglog(spans, np.maximum(gaps, 1e-17), color=colour, marker=marker, ls="", label=name)
    if size > 0:
        axes.loglog(spans, size * spans**2, color=colour, lw=1)
        print(f"{name}: gap/s² = {gaps[0] / spans[0] ** 2:.4f}, |[∇g₁, ∇g₂]| = {size:.4f}")
axes.set(
    xlabel="s (time along each gradient)", ylabel="distance of the two end points (units of θ)"
)
axes.set_title("lines: $s^2 |[∇g_1, ∇g_2]|$; zeros are drawn at 1e-17")
axes.legend(loc="center left", bbox_to_anchor=(0.0, 0.4))
plt.show()

# %% [markdown]
# ## 3. A mirror flow's end can be foretold
#
# If all commute, $x_t$ depends on the past only through $\int_0^t\nabla f$, which lies in the row
# space of Z. So $x_\infty = Q(Z^\top\nu)$ and $Zx_\infty = y$: $n$ equations for $n$ unknowns, and
# nothing to integrate. For $m \odot w$ that is `interpolator`; for $u^3 - v^3$,
# $Q(\theta) = (1/u_0 - 3\theta)^{-3} - (1/v_0 + 3\theta)^{-3}$.

# %%
rng = np.random.default_rng(2)
Z = rng.standard_normal((2, 4))
problem = mf.Regression(Z, Z @ np.array([1.0, 0.0, -0.5, 0.0]))
off = mf.Constant(0.0)


def end_of_flow(g, theta0, problem, h=decay, schedule=off, end=2e3):
    """x = g(θ) and ∫∇f at the end of θ̇ = −∇(f(g(θ)) + α_t h(θ))."""
    dim = len(theta0)

    def velocity(t, state):
        point = torch.tensor(state[:dim], requires_grad=True)
        x = g(point)
        slope = problem.gradient(x.detach().numpy())
        (x @ torch.tensor(slope) + float(schedule.alpha(t)) * h(point)).backward()
        return np.concatenate([-point.grad.numpy(), slope])

    state = np.concatenate([theta0, np.zeros(problem.d)])
    for start, stop in itertools.pairwise([0.0, *schedule.breakpoints, end]):
        span = (start, np.nextafter(stop, start))  # α jumps at `stop`
        state = solve_ivp(velocity, span, state, "LSODA", rtol=rtol, atol=1e-13).y[:, -1]
    return g(torch.tensor(state[:dim])).numpy(), state[dim:]


u0, v0 = np.full(4, 0.7), np.full(4, 0.6)
start = {
    product: np.concatenate([np.full(4, 0.9), np.array([0.1, -0.2, 0.3, 0.0])]),
    cubes: np.concatenate([u0, v0]),
    neuron: np.array([0.9, 0.1, -0.2, 0.3, 0.0]),
    weight_norm: np.array([0.5, 0.4, -0.2, 0.3, 0.6]),
    two_layers: np.array([0.8, 0.1, -0.2, 0.9, 0.3, 0.2, -0.1, 0.4]),
}


def cubic(nu):
    """x = Q(Zᵀν) of u³ − v³."""
    slope = 3 * problem.Z.T @ nu
    return (1 / u0 - slope) ** -3 - (1 / v0 + slope) ** -3


solved = root(lambda nu: problem.Z @ cubic(nu) - problem.y, np.zeros(2), tol=1e-13)
assert solved.success
predictions = {
    product: mf.interpolator(problem, mf.Factors(*np.split(start[product], 2)), 0.0).x,
    cubes: cubic(solved.x),
}
checks = []
for g, predicted in predictions.items():
    reached, _ = end_of_flow(g, start[g], problem)
    value = np.abs(reached - predicted).max() / np.abs(predicted).max()
    checks.append(mf.Certificate.of(f"{g.__name__}: flow ends where foretold", value, 1e2 * rtol))
assert all(check.holds for check in checks)
pd.DataFrame(checks)

# %% [markdown]
# ## 4. Counterexamples leave it
#
# Weigh the samples: $f_c = \frac{1}{2n}\sum_i c_i (z_i^\top x - y_i)^2$. The solutions of
# $Zx = y$ and the row space stay the same, so that a mirror flow must end at the same $x_\infty$
# for every $c > 0$, after the same $\int\nabla f = -\nabla R(x_\infty)$.

# %%
ratios = np.geomspace(0.02, 50.0, 7)
ends = {g: ([], []) for g in start}
for ratio in ratios:
    weights = np.sqrt([1.0, ratio])
    weighted = mf.Regression(weights[:, None] * problem.Z, weights * problem.y)
    for g, theta0 in start.items():
        for kept, found in zip(ends[g], end_of_flow(g, theta0, weighted), strict=True):
            kept.append(found)

kernel = np.linalg.svd(problem.Z)[2][2]  # a direction in which solutions of Zx = y differ
labels = {
    product: ("m ⊙ w", "#0072B2", "o"),
    cubes: ("u³ − v³", "#009E73", "^"),
    neuron: ("m·w, one m (neuron-wise mask)", "#D55E00", "s"),
    weight_norm: ("s·v/‖v‖ (weight normalisation)", "#CC79A7", "D"),
    two_layers: ("A·B (two layers)", "#000000", "v"),
}
fig, panels = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
for g, (label, colour, marker) in labels.items():
    for axes, values in zip(panels, ends[g], strict=True):
        first = values[0]
        away = [np.linalg.norm(v - first) / np.linalg.norm(first) for v in values[1:]]
        axes.loglog(ratios[1:], away, color=colour, marker=marker, label=label)
for axes, what in zip(panels, ["$x_∞$", "$\\int∇f$"], strict=True):
    axes.axhline(1e2 * rtol, color="#999999", ls="--", lw=1, label="bound: 100 rtol")
    axes.set(xlabel="weight of sample 2 over sample 1 (no unit)")
    axes.set(ylabel=f"distance of {what} to that at 0.02 (relative)")
panels[0].legend(loc="center right", bbox_to_anchor=(1.0, 0.55))
plt.show()

# %%
rows = {}
for g, (label, _, _) in labels.items():
    spreads = [np.ptp(np.array(v), axis=0).max() / np.abs(v).max() for v in ends[g]]
    holds = commutes(g, len(start[g])).holds
    assert (max(spreads) <= 1e2 * rtol) == holds
    rows[label] = [*spreads, 1e2 * rtol, holds]
columns = ["spread of x_∞", "spread of ∫∇f", "bound", "commutes"]
pd.DataFrame.from_dict(rows, orient="index", columns=columns)

# %% [markdown]
# The neuron-wise mask is the subtle one. Its end does not move: $w$ stays in $w_0$ plus the row
# space and $m^2 - \|w\|^2$ is kept, which fixes $x_\infty$. Yet one $x_\infty$ comes with many
# $\int\nabla f$, so no potential $R$ has $\nabla R(x_t) = -\int_0^t\nabla f$: no mirror flow.

# %% [markdown]
# ## 5. The same for penalties: only the total may count
#
# Where $h$ commutes with $g$, potential and end depend on the schedule through $A = \int\alpha$
# alone. Four ways to spend $A = 0.2$, and how far their ends and their $\int\nabla f$ spread:

# %%
ways = [mf.Constant.from_total(0.2, stop=stop) for stop in (0.1, 1.0, 10.0)]
ways.append(mf.Piecewise.from_total(0.2, [0.0, 3.0, 4.0], [0.0, 1.0, 0.0]))


def mask_decay(theta):
    return (theta[: theta.numel() // 2] ** 2).sum()


def cube_penalty(theta):
    return (theta**3).sum()


cases = {
    "m ⊙ w, ‖m‖² + ‖w‖²": (product, decay),
    "m ⊙ w, ‖m‖² alone": (product, mask_decay),
    "u³ − v³, Σ(u³ + v³)": (cubes, cube_penalty),
    "u³ − v³, ‖u‖² + ‖v‖²": (cubes, decay),
}
reached = {
    name: [end_of_flow(g, start[g], problem, h, way) for way in ways]
    for name, (g, h) in cases.items()
}
rows = {}
for name, (g, h) in cases.items():
    both = [np.array(values) for values in zip(*reached[name], strict=True)]
    spreads = [np.ptp(values, axis=0).max() / np.abs(values).max() for values in both]
    holds = regularizer_commutes(g, h, 8).holds
    assert (max(spreads) <= 1e2 * rtol) == holds
    rows[name] = [*spreads, 1e2 * rtol, holds]
pd.DataFrame.from_dict(rows, orient="index", columns=[*columns[:3], "h commutes"])

# %% [markdown]
# Again the end alone can deceive: with $u^3 - v^3$ the bracket with $\|\theta\|^2$ is a multiple of
# $\nabla g_i$, so that decay rescales the gradients summed so far and leaves them in the row space.
# The end is kept, the mirror equation is not. For $m \odot w$ the end is the paper's:

# %%
limit = mf.interpolator(problem, mf.Factors(*np.split(start[product], 2)), 0.2).x
away = max(np.abs(x - limit).max() for x, _ in reached["m ⊙ w, ‖m‖² + ‖w‖²"])
print(f"largest distance of the four ends to argmin R_a after A = 0.2: {away:.1e}")
assert away < 1e2 * rtol

# %% [markdown]
# ## What to try
#
# - Your own `mine`: any torch function of one tensor; `at=` picks the points where it is judged.
#   A kink, a `detach()` or a wrong shape gets a sentence that says so.
# - `torch.abs(m) * w` at points without zeros; `theta ** 4`; a convolution of two kernels.
# - Which $h$ commutes with $x \odot \sigma(s)$? (Its brackets give a differential equation.)
# - Section 4 with your own map: does its end spread, or only its ∫∇f?
