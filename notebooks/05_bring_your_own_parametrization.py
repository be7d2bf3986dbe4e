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
# (Li, Wang, Lee, Arora 2022; Lemma C.1 of the paper's arXiv v1). Give any $g$ in torch or NumPy
# operations: `Custom` makes a start of it that flows, potentials and limits take.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.integrate import solve_ivp

import mirrorflow as mf
from mirrorflow import plots
from mirrorflow.commuting import brackets_in_kernel, commutes

plt.rcParams.update(plots.STYLE)
pd.options.display.float_format = "{:.1e}".format
pd.options.display.width = 180

# %% [markdown]
# ## 1. One line for each
#
# Every $g$ that acts on each coordinate alone commutes. What a penalty $\alpha_t h(\theta)$ does is
# read from $[\nabla g_i, \nabla h] = -\kappa\nabla g_i$. With a $\kappa$ and a scale,
# $\langle\nabla g, \nabla h\rangle = \delta g$, every schedule has a dual form: it sums
# $e^{-\kappa A}\nabla f$ and scales $x$ by $e^{-\delta A}$. With $\kappa = 0$ and no scale the
# penalty moves the start. By default $h = \|\theta\|^2$.
#
# Replace `mine` by your own map.


# %%
def mine(theta):  # your own: a sigmoid mask on every weight
    return theta[0] * torch.sigmoid(theta[1])


def cubes(theta):
    return theta[0] ** 3 - theta[1] ** 3


def cube_penalty(theta):
    return (theta**3).sum()


u, v = np.full(4, 0.7), np.full(4, 0.6)
starts = {
    "m ⊙ w": mf.Custom(lambda theta: theta[0] * theta[1], [u, v - 0.6]),
    "u³ − v³": mf.Custom(cubes, [u, v]),
    "u³ − v³, Σ(u³ + v³)": mf.Custom(cubes, [u, v], cube_penalty),
    "three layers": mf.Custom(lambda theta: theta[0] * theta[1] * theta[2], [u, v, v - 0.4]),
    "θ|θ|^½": mf.Custom(lambda theta: theta[0] * (theta[0] ** 2) ** 0.25, [u]),
    "sinh θ": mf.Custom(lambda theta: np.sinh(theta[0]), [u]),
    "x ⊙ σ(s) (mine)": mf.Custom(mine, [u, v]),
}
rows = {
    name: [start.certificate.value, start.kappa, start.decay, start.certificate.holds]
    for name, start in starts.items()
}
columns = ["|[∇g, ∇h] + κ∇g|", "κ", "δ", "holds"]
pd.DataFrame.from_dict(rows, orient="index", columns=columns)

# %% [markdown]
# The potentials that these starts induce, of one coordinate that starts at $x = 0$: from round,
# as L2, to sharp, as L1.

# %%
one = np.full((1, 1), 0.3)
shapes = {
    "sinh θ": mf.Custom(lambda theta: np.sinh(theta[0]), 0.0 * one),
    "m ⊙ w": mf.Custom(lambda theta: theta[0] * theta[1], [one[0], 0.0 * one[0]]),
    "u³ − v³": mf.Custom(cubes, [one[0], one[0]]),
}
grid = np.linspace(-1.0, 1.0, 101)
fig, axes = plt.subplots(figsize=(6.0, 3.8), layout="constrained")
for (name, start), colour in zip(shapes.items(), ["#D55E00", "#0072B2", "#009E73"], strict=True):
    R = start.potential()
    values = np.array([R.divergence([x], [0.0]) for x in grid])
    axes.plot(grid, values / values[-1], color=colour, label=name)
axes.set(xlabel="$x$ (units of $x$)", ylabel="$R(x)/R(1)$ (no unit)")
axes.legend()
plt.show()

# %% [markdown]
# ## 2. A mirror flow's end can be foretold
#
# $x_t$ depends on the past only through $\int_0^t\nabla f$, which lies in the row space of Z. So
# $x_\infty = X(Z^\top\nu)$ and $Zx_\infty = y$: $n$ equations for $n$ unknowns, `interpolator`.
# `direct_flow` integrates $\theta$ as it is written, with the derivatives of your $g$.

# %%
rtol, end = 1e-10, 2e3
rng = np.random.default_rng(2)
Z = rng.standard_normal((2, 4))
problem = mf.Regression(Z, Z @ np.array([1.0, 0.0, -0.5, 0.0]))
off = mf.Constant(0.0)
checks = []
for name in ("m ⊙ w", "u³ − v³", "three layers", "sinh θ", "x ⊙ σ(s) (mine)"):
    predicted = mf.interpolator(problem, starts[name], 0.0).x
    reached = mf.direct_flow(problem, starts[name], off, [end], rtol).x[-1]
    value = np.abs(reached - predicted).max() / np.abs(predicted).max()
    checks.append(mf.Certificate.of(f"{name}: flow ends where foretold", value, 1e2 * rtol))
assert all(check.holds for check in checks)
pd.DataFrame(checks)

# %% [markdown]
# ## 3. Counterexamples leave it
#
# A $g$ that mixes coordinates may commute or not. Three that don't:


# %%
def neuron(theta):  # one mask for the whole neuron
    return theta[0] * theta[1:]


def weight_norm(theta):
    return theta[0] * theta[1:] / torch.linalg.vector_norm(theta[1:])


def two_layers(theta):  # a product of two 2 × 2 matrices
    return (theta[:4].reshape(2, 2) @ theta[4:].reshape(2, 2)).reshape(-1)


mixing = {
    "m·w, one m (neuron-wise mask)": (neuron, [0.9, 0.1, -0.2, 0.3, 0.0]),
    "s·v/‖v‖ (weight normalisation)": (weight_norm, [0.5, 0.4, -0.2, 0.3, 0.6]),
    "A·B (two layers)": (two_layers, [0.8, 0.1, -0.2, 0.9, 0.3, 0.2, -0.1, 0.4]),
}
verdicts = {
    name: [check(g, len(theta)).value for check in (commutes, brackets_in_kernel)]
    for name, (g, theta) in mixing.items()
}
columns = ["|[∇g_i, ∇g_j]|", "|∂g [∇g_i, ∇g_j]|"]
pd.DataFrame.from_dict(verdicts, orient="index", columns=columns)

# %% [markdown]
# Weigh the samples: $f_c = \frac{1}{2n}\sum_i c_i (z_i^\top x - y_i)^2$. The solutions of
# $Zx = y$ and the row space stay the same, so that a mirror flow must end at the same $x_\infty$
# for every $c > 0$, after the same $\int\nabla f = -\nabla R(x_\infty)$.


# %%
def end_of_flow(problem, g, theta0):
    """x and ∫∇f at the end of θ̇ = −∇f(g(θ)), for a g that mixes coordinates."""

    def velocity(t, state):
        point = torch.tensor(state[: len(theta0)], requires_grad=True)
        x = g(point)
        slope = problem.gradient(x.detach().numpy())
        (x @ torch.tensor(slope)).backward()
        return np.append(-point.grad.numpy(), slope)

    state = np.append(theta0, np.zeros(problem.d))
    state = solve_ivp(velocity, (0.0, end), state, "LSODA", rtol=rtol, atol=1e-13).y[:, -1]
    return g(torch.tensor(state[: len(theta0)])).numpy(), state[len(theta0) :]


def ends_of(name, problem, schedule=off):
    if name in mixing:
        return end_of_flow(problem, *mixing[name])
    flow = mf.direct_flow(problem, starts[name], schedule, [end], rtol, accumulate=True)
    return flow.x[-1], flow.accumulated[-1]


ratios = np.geomspace(0.02, 50.0, 7)
names = ["m ⊙ w", "u³ − v³", *mixing]
ends = {name: [] for name in names}
for ratio in ratios:
    weights = np.sqrt([1.0, ratio])
    weighted = mf.Regression(weights[:, None] * problem.Z, weights * problem.y)
    for name in names:
        ends[name].append(ends_of(name, weighted))

fig, panels = plt.subplots(1, 2, figsize=(6.75, 3.6), layout="constrained")
looks = zip(["#0072B2", "#009E73", "#D55E00", "#CC79A7", "#000000"], "o^sDv", strict=True)
for (name, pairs), (colour, marker) in zip(ends.items(), looks, strict=True):
    for axes, values in zip(panels, zip(*pairs, strict=True), strict=True):
        first = values[0]
        away = [np.linalg.norm(value - first) / np.linalg.norm(first) for value in values[1:]]
        axes.loglog(ratios[1:], away, color=colour, marker=marker, label=name)
for axes, what in zip(panels, ["$x_∞$", "$\\int∇f$"], strict=True):
    axes.axhline(1e2 * rtol, color="#999999", ls="--", lw=1, label="bound: 100 rtol")
    axes.set(xlabel="weight of sample 2 over 1 (no unit)")
    axes.set(ylabel=f"distance of {what} to that at 0.02 (relative)")
fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
plt.show()


# %%
def spreads(pairs):
    """How far ends and integrals spread, relative to their size."""
    both = [np.array(values) for values in zip(*pairs, strict=True)]
    return [np.ptp(values, axis=0).max() / np.abs(values).max() for values in both]


rows = {name: [*spreads(pairs), 1e2 * rtol, name not in mixing] for name, pairs in ends.items()}
assert all((max(row[:2]) <= row[2]) == row[3] for row in rows.values())
columns = ["spread of x_∞", "spread of ∫∇f", "bound", "commutes"]
pd.DataFrame.from_dict(rows, orient="index", columns=columns)

# %% [markdown]
# The neuron-wise mask is the subtle one. Its end does not move: $w$ stays in $w_0$ plus the row
# space and $m^2 - \|w\|^2$ is kept, which fixes $x_\infty$. Yet one $x_\infty$ comes with many
# $\int\nabla f$, so no potential $R$ has $\nabla R(x_t) = -\int_0^t\nabla f$: no mirror flow.

# %% [markdown]
# ## 4. The same for penalties: only the total may count
#
# Where $h$ commutes or scales, potential and end depend on the schedule through $A = \int\alpha$
# alone, and so does $\int e^{-\kappa A}\nabla f$. Four ways to spend $A = 0.2$, how far their ends
# and integrals spread, and how far the ends are from `interpolator` after $A = 0.2$:

# %%
ways = [mf.Constant.from_total(0.2, stop=stop) for stop in (0.1, 1.0, 10.0)]
ways.append(mf.Piecewise.from_total(0.2, [0.0, 3.0, 4.0], [0.0, 1.0, 0.0]))
rows = {}
for name in ("m ⊙ w", "u³ − v³", "u³ − v³, Σ(u³ + v³)", "sinh θ", "x ⊙ σ(s) (mine)"):
    pairs = [ends_of(name, problem, way) for way in ways]
    try:
        limit = mf.interpolator(problem, starts[name], 0.2).x
        away = max(np.abs(x - limit).max() for x, _ in pairs)
    except mf.InputError as error:
        print(f"{name}: {error}")
        away = np.nan
    rows[name] = [*spreads(pairs), away, 1e2 * rtol, np.isfinite(starts[name].kappa)]
    assert (max(rows[name][:2]) <= 1e2 * rtol) == rows[name][4]
    assert not away > 1e2 * rtol
columns = ["spread of x_∞", "spread of ∫e^{−κA}∇f", "to the limit", "bound", "κ exists"]
pd.DataFrame.from_dict(rows, orient="index", columns=columns)

# %% [markdown]
# With $u^3 - v^3$ weight decay does not commute, and is exact all the same ($\kappa = 2$); its own
# penalty $\sum(u^3 + v^3)$ commutes, but moves the start.

# %% [markdown]
# ## What to try
#
# - Your own `mine`. A kink, a `detach()`, a wrong shape or a $g$ that mixes coordinates gets a
#   sentence that says so.
# - `theta[0] ** 4`; `np.log(theta[0]) - np.log(theta[1])` with $h = \sum\log u + \log v$, whose
#   domain shrinks with $A$.
# - Which $h$ commutes with $x \odot \sigma(s)$? (Its brackets give a differential equation.)
# - Section 3 with a map of your own: does its end spread, or only its ∫∇f?
