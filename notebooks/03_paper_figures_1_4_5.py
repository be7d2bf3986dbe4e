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
# # The paper's Figures 1, 4 and 5, with verdicts
#
# Gradient descent and SGD on sparse recovery (40 samples, 100 features, 5 nonzeros, η = 1e-4,
# five initialisations), as in the paper's Section on diagonal linear networks. The paper leaves
# the penalties' strengths and the unit of time open; here each schedule spends a stated total
# $A = \sum\eta\alpha_k$, and exact flow, which has no step size, stands beside it.

# %%
# %matplotlib inline
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Image, display

import mirrorflow as mf
from mirrorflow import plots, results
from mirrorflow.colours import SCHEDULES
from mirrorflow.sweep import descent_trials, descents

plt.rcParams.update(plots.STYLE)
pd.options.display.float_format = "{:.2g}".format
pd.options.display.max_colwidth = 90
pd.options.display.width = 180


# %% [markdown]
# `make notebooks` runs the four studies first (a minute or two each) and this page reads their
# rows and curves. Where they have not been run, it falls back on the rows and pictures that are
# committed in `figures/`; which of the two is said below.


# %%
def read(study):
    """Rows of a study, and its curves where it was run here."""
    folder = Path("../results") / study
    try:
        frame, paths = results.load(folder), results.load_paths(folder / "paths.npz")
    except mf.InputError:
        frame, paths = pd.read_parquet(f"../figures/{study}_rows.parquet"), None
    source = "committed rows" if paths is None else "rows of the run in results/"
    print(f"{study:15s} {len(frame):5d} runs, {source}")
    return frame, paths


def show(study, draw, paths):
    """The study's figure, from its curves or as committed."""
    display(Image(f"../figures/{study}.png", width=675) if paths is None else draw())


studies = {
    "initialization": descents.Initialization(),
    "regularization": descents.Regularization(),
    "schedules": descents.Schedules(),
    "sgd": descents.Sgd(),
}
data = {name: read(name) for name in studies}

# %% [markdown]
# ## Figure 1a: initialisation
#
# PILoT starts at $m_0^2 - w_0^2 = \beta$; the balanced ("spred") start has $|m_0| = |w_0|$, where
# no coordinate can ever change its sign. Unless the signs of $x_0$ happen to fit, $x^*$ is out of
# reach for every strength of the penalty.

# %%
frame, paths = data["initialization"]
show("initialization", lambda: plots.initialization(frame, paths), paths)
pd.DataFrame(studies["initialization"].verdicts(frame))

# %% [markdown]
# It is the signs and not the steps: of the five nonzeros of $x^*$ only those can come out right
# that $x_0$ has guessed. The limit still solves $Zx = y$, elsewhere.

# %%
rows = frame[(frame["start"] == "balanced") & (frame["shape"] == "geometric")]
first = rows.iloc[0]
problem = mf.gaussian_recovery(int(first["n"]), int(first["d"]), int(first["k"]), seed=0)
guessed = [
    int(np.sum(descent_trials.start_factors(row, problem).x * problem.x_true > 0))
    for row in rows.to_dict("records")
]
rows.assign(guessed=guessed).groupby("seed").agg(
    signs_guessed_of_5=("guessed", "first"),
    status_of_limit=("limit_status", "first"),
    distance_of_limit_at_best_total=("limit_distance", "min"),
)

# %% [markdown]
# The rows' limits again, from scratch: `interpolator` from the same start after the same total.

# %%
rows = frame[(frame["start"] == "pilot") & (frame["shape"] == "geometric")]
again = [
    np.linalg.norm(
        mf.interpolator(problem, descent_trials.start_factors(row, problem), row["total"]).x
        - problem.x_true
    )
    for row in rows.to_dict("records")
]
difference = np.abs(np.array(again) - rows["limit_distance"]).max()
print(f"{len(rows)} limits recomputed; largest difference of their distances: {difference:.1e}")
assert difference < 1e-8  # of distances of order 1

# %% [markdown]
# ## Figure 1b: three regularisers, each at its best
#
# $\alpha(\|m\|^2 + \|w\|^2)$ and $\alpha\|m\|_1$ on $x = m \odot w$, and $\alpha\|x\|_1$ on $x$
# itself. The paper: a decaying schedule wins for the first, a constant for the other two. The
# first is reproduced, and with it goes theory: a decaying penalty lets $x$ interpolate, a constant
# one leaves LASSO's bias. The other two depend on what "best" means, as the verdicts say.

# %%
frame, paths = data["regularization"]
show("regularization", lambda: plots.regularization(frame, paths), paths)
pd.DataFrame(studies["regularization"].verdicts(frame))

# %% [markdown]
# α‖m‖₁ is "reproduced" by the mean and not by the median. The five starts show why: decaying
# schedules find x* to rounding or get stuck, and a few stuck runs make the mean. Constant ones
# always carry their bias.

# %%
some = frame[(frame["regularizer"] == "mask_l1") & frame["shape"].isin(["constant", "geometric"])]
best = some.pivot_table("distance_end", ["shape", "total"], "seed")
best.loc[[("constant", 2.0), ("geometric", 2.0)]]

# %% [markdown]
# ## Figure 1c: the potential
#
# $R_a$ in one dimension as $\int\alpha$ grows; see notebook 02 for more.

# %%
fig, axes = plt.subplots(figsize=(5, 4), layout="constrained")
plots.potentials(axes, [0.0, 0.25, 0.5, 1.0, 2.0, 4.0], beta=1.0)
axes.set_xlabel("x (units of x)")
axes.set_title("$R_a$ between x² and |x|, β = 1, $x_0 = 0$", loc="left")
plt.show()

# %% [markdown]
# ## Figure 4: all schedules, gradient descent

# %%
frame, paths = data["schedules"]
show("schedules", lambda: plots.schedules(frame, paths), paths)
pd.DataFrame(studies["schedules"].verdicts(frame))

# %% [markdown]
# ## Figure 5: all schedules, SGD
#
# Batch size 5, five streams of minibatches for each of the five initialisations. The same six
# verdicts.

# %%
noisy, paths = data["sgd"]
show("sgd", lambda: plots.schedules(noisy, paths), paths)
pd.DataFrame(studies["sgd"].verdicts(noisy))

# %% [markdown]
# What of the sparsity is decay, and what are step size and noise? $m^2 - w^2$ shrinks by
# $e^{-4A}$ with the exact effective total of a run, `total_effective`; the part above the $A$ that
# the schedule spent is theirs. At $\eta = 10^{-4}$ it is next to nothing, by SGD as by gradient
# descent: here the decay makes the sparsity. (Notebook 07 has larger steps.)

# %%
parts = []
for steps, runs in (("gradient descent", frame), ("SGD", noisy)):
    runs = runs[(runs["regularizer"] == "factors") & (runs["start"] == "pilot")]
    more = 100.0 * (runs["total_effective"] / runs["total_spent"] - 1.0)
    parts.append(more.groupby(runs["shape"]).agg(["median", "max"]).add_prefix(f"{steps}, "))
pd.concat(parts, axis=1).rename_axis("step size and noise, % of A")

# %% [markdown]
# ## What the curves hide: the total
#
# Both figures again, from the rows alone: the last step's distance against the total that the
# schedule spent. Filled: gradient descent. Hollow: SGD. Where schedules differ at the same total
# the shape counts; where they don't, only $A$ does.

# %%
markers = {"constant": "o", "harmonic": "D", "quadratic": "s", "geometric": "^"}
titles = {"factors": "α(‖m‖² + ‖w‖²)", "mask_l1": "α‖m‖₁", "l1_on_x": "α‖x‖₁"}
fig, panels = plt.subplots(1, 3, figsize=(6.75, 3.0), layout="constrained", sharey=True)
for axes, (name, title) in zip(panels, titles.items(), strict=True):
    for shape, marker in markers.items():
        colour = SCHEDULES[shape]
        for rows, fill, dashes in ((frame, colour, "-"), (noisy, "none", ":")):
            chosen = rows[(rows["regularizer"] == name) & (rows["shape"] == shape)]
            mean = chosen.groupby("total")["distance_end"].mean()
            label = shape if fill == colour else None
            axes.plot(
                mean.index,
                mean,
                color=colour,
                ls=dashes,
                marker=marker,
                mfc=fill,
                ms=4,
                label=label,
            )
    axes.set(xscale="log", yscale="log", xlabel="$A = Σηα$ (no unit)", title=title)
    axes.set_xticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
    axes.minorticks_off()
panels[0].set_ylabel("$\\|x - x^*\\|_2$ at the last step (units of x)")
fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

# %% [markdown]
# ## What to try
#
# - `python -m mirrorflow.sweep regularization --totals 1 4 16`: does more budget help?
# - `--steps 3000000`: the first panel's floor is the budget's; its limit is at 1e-8.
# - `--l1 proximal`: soft-thresholding instead of the paper's plain gradient steps.
# - `--loss half_mse`, `--per 1`: the two conventions that the paper leaves open.
# - `--noise 0.1`: then $x^*$ is no interpolator, and the constant's bias may pay.
