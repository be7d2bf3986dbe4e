"""The claims of the ledger: what is said, where, under which conditions, and how it is meant.

Sources: ICLR = Jacobs & Burkholz, ICLR 2025; v1 = its first arXiv version (2408.09966v1).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["CLAIMS", "GROUPS", "SECTIONS", "Claim"]

Kind = Literal["claim", "printed", "outside"]


class Claim(NamedTuple):
    """One row of the ledger.

    `kind`: "claim" must hold in every trial; "printed" is a formula as v1 prints it, which must
    fail in every trial while the claim named in `corrected` holds; "outside" says what happens
    where the theorem's conditions are not met.
    """

    key: str
    group: str
    section: str
    statement: str
    source: str
    conditions: str
    kind: Kind = "claim"
    corrected: str = ""


SECTIONS = {
    "2.1": "Theorem 2.1: a mirror flow with a time-dependent potential",
    "2.2": "Theorem 2.2: convergence",
    "2.3": "Theorem 2.3: the limit",
    "R": "The potential: where it pulls",
    "C": "Commuting parametrizations",
    "S": "Sharpness",
}
# the groups whose trials run under both losses, and the others
GROUPS = {
    "path": ("squared", "pseudo_huber"),
    "stop": ("squared", "pseudo_huber"),
    "power": ("squared", "pseudo_huber"),
    "kick": ("squared", "pseudo_huber"),
    "pulses": ("squared", "pseudo_huber"),
    "limit": ("squared",),
    "sparse": ("none",),
    "penalised": ("squared",),
    "potential": ("none",),
    "sharpness": ("squared",),
    "commuting": ("none",),
}
BOTH = "squared loss, pseudo-Huber"
FREE = "∣m₀∣ ≠ ∣w₀∣, any signs, any α_t ≥ 0; " + BOTH
FADING = "∫α < ∞; " + BOTH
STOPPED = "α = 0 from a stop on, full row rank; " + BOTH

# a table to be read: a claim takes two lines, not one for each argument
# fmt: off
CLAIMS = (
    Claim("invariant", "path", "2.1", "m² − w² = (m₀² − w₀²) e^(−4A)", "ICLR 2.1, v1 A.1", FREE),
    Claim("mirror_equation", "path", "2.1",
          "∇R_a(t)(x_t) + ∫∇f = 0 with a = ∣u₀v₀∣ e^(−4A), along integrated (m, w)",
          "ICLR 2.1, v1 3.1", FREE),
    Claim("printed_theorem_31", "path", "2.1",
          "∇R_a(t)(x_t) − ∇R_a(0)(x₀) + ∫∇f = 0 with a = 2u₀v₀ e^(−2A)", "v1 3.1", FREE,
          "printed", "mirror_equation"),
    Claim("printed_scale", "path", "2.1",
          "∇R_a(t)(x_t) − ∇R_a(0)(x₀) + ∫∇f = 0 with its first slip alone, a = 2u₀v₀ e^(−4A)",
          "v1 3.1", FREE, "printed", "mirror_equation"),
    Claim("printed_exponent", "path", "2.1",
          "∇R_a(t)(x_t) − ∇R_a(0)(x₀) + ∫∇f = 0 with its second slip alone, a = u₀v₀ e^(−2A)",
          "v1 3.1", FREE, "printed", "mirror_equation"),
    Claim("printed_quarter", "path", "2.1",
          "∇R_a(t)(x_t) + ∫∇f = 0 with ¼ for ½ in R_a (the argmin alone is not changed)",
          "v1 2.1", FREE, "printed", "mirror_equation"),
    Claim("closed_form", "path", "2.1", "x_t = ½ e^(−4A) (u₀² e^(−2g) − v₀² e^(2g)), g = ∫∇f",
          "v1 A.1", FREE),
    Claim("printed_closed_form", "path", "2.1",
          "x_t = e^(−4A) (u₀² e^(−2g) − v₀² e^(2g)), without the ½", "v1 A.1", FREE, "printed",
          "closed_form"),
    Claim("loss_slope", "path", "2.1", "df/dt = −Σ 2√(x² + a²)(∂f)² − 4α⟨x, ∇f⟩", "v1 App. A",
          FREE),
    Claim("printed_loss_slope", "path", "2.1", "df/dt = −Σ √(x² + a²)(∂f)² − 2α⟨x, ∇f⟩",
          "v1 App. A", FREE, "printed", "loss_slope"),
    Claim("positional_bias", "path", "2.1", "argmin R_a(t) = e^(−4A) m₀ ⊙ w₀",
          "ICLR 2.1, v1 3.1", FREE),
    Claim("printed_positional_bias", "path", "2.1", "argmin R_a(t) = e^(−2A) m₀ ⊙ w₀", "v1 3.1",
          FREE, "printed", "positional_bias"),
    Claim("finite_time", "path", "2.1", "x_t = argmin R_a(t) over Zx = Zx_t at every t",
          "ICLR 2.1", FREE),
    Claim("path_difference", "path", "2.1",
          "n dual unknowns give the same path as integrated (m, w)", "ICLR 2.1",
          "∣m₀∣ ≠ ∣w₀∣; squared loss only"),
    Claim("scipy_agrees", "path", "2.1",
          "scipy's Radau and DOP853 give the integrated (m, w) that all paths here are judged by",
          "independent check", FREE),
    Claim("signs_kept", "path", "2.1", "balanced coordinates ∣m₀∣ = ∣w₀∣ keep the sign of x₀",
          "ICLR 2.1", "balanced; " + BOTH, "outside"),
    Claim("lyapunov_falls", "path", "2.2",
          "W_t does not increase, for the limit and for the least-norm x*", "ICLR 2.2, v1 3.2",
          FADING),
    Claim("lyapunov_bounds_divergence", "path", "2.2", "W_t ≥ D_a(t)(x*, x_t)",
          "ICLR 2.2, v1 A.3", FADING),
    Claim("falls_once_alpha_vanishes", "power", "2.2", "the loss is eventually non-increasing",
          "ICLR 2.2", "α_t → 0 (quadratic schedule); " + BOTH),
    Claim("falls_under_pulses", "pulses", "2.2",
          "the loss is eventually non-increasing, from ∫α < ∞ alone", "v1 3.2",
          "pulses of height 1 and widths 2^(−k), α_t ↛ 0; " + BOTH, "printed",
          "falls_once_alpha_vanishes"),
    Claim("lower_rate", "stop", "2.2", "the loss falls at least like exp(−2λ min a_∞ t)",
          "ICLR 2.2, v1 3.2", STOPPED),
    Claim("asymptotic_rate", "stop", "2.2",
          "asymptotically residuals follow e^(−Ht), H = (2/n) Z diag(√(x_∞² + a_∞²)) Zᵀ",
          "exact form of ICLR 2.2", STOPPED),
    Claim("power_law", "power", "2.2",
          "f_t/α_t² tends to the constant that the moving target sets", "against v1 3.2",
          "quadratic schedule; " + BOTH),
    Claim("printed_linear_rate", "power", "2.2", "linear rate 2λ min a_∞ whenever ∫α < ∞",
          "ICLR 2.2, v1 3.2", "quadratic schedule; " + BOTH, "printed", "power_law"),
    Claim("additive_penalty", "stop", "2.2", "f_t ≤ e^(−Λt) f₀ + C∫e^(−Λ(t−s)) α_s ds",
          "Gronwall on v1 A.3", STOPPED),
    Claim("additive_penalty_from_minimiser", "kick", "2.2",
          "f_t ≤ C∫e^(−Λ(t−s)) α_s ds from a minimiser", "Gronwall on v1 A.3",
          "f(x₀) = 0; " + BOTH),
    Claim("printed_multiplicative", "kick", "2.2",
          "f_t ≤ C(α) e^(−Λt) f₀, so a minimiser is never left", "v1 3.2", "f(x₀) = 0; " + BOTH,
          "printed", "additive_penalty_from_minimiser"),
    Claim("arrival", "stop", "2.3", "Zx → y", "ICLR 2.2, 2.3", STOPPED),
    Claim("convergence", "stop", "2.3", "x → argmin R_a(∞) over Zx = y", "ICLR 2.3, v1 3.3",
          STOPPED),
    Claim("convergence_power", "power", "2.3",
          "x → argmin R_a(∞) as A_t → A_∞ while α_t still decays", "ICLR 2.3",
          "quadratic schedule; squared loss only"),
    Claim("printed_argmin", "stop", "2.3", "the limit is the argmin with a = 2u₀v₀ e^(−2A)",
          "v1 2.1, 3.1", STOPPED, "printed", "convergence"),
    Claim("optimality", "limit", "2.3", "KKT: Zx = y, ∇R_a(x) in the row space, no duality gap",
          "ICLR 2.3, v1 A.2", "n < d, A in [0, 4]"),
    Claim("agreement", "limit", "2.3", "argmin R_a over Zx = y is cvxpy's (exponential cone)",
          "ICLR 2.3", "n < d, A in [0, 4]"),
    Claim("inconsistent", "limit", "2.3", "x → argmin R_a(∞) over the least-squares solutions",
          "beyond ICLR 2.3", "Zx = y has no solution; squared loss only", "outside"),
    Claim("l1_excess", "sparse", "2.3",
          "the limit's ‖x‖₁ exceeds the least by at most ~ e^(−4A·margin)", "ICLR 2.1 (late L1)",
          "unique minimum L1"),
    Claim("l1_exponent", "sparse", "2.3",
          "the mass off the support falls like e^(−4A·margin), margin from an LP",
          "ICLR 2.1 (late L1)", "unique minimum L1"),
    Claim("harmonic_l1", "sparse", "2.3", "∫α = ∞: the limit has minimum L1", "beyond ICLR 2.3",
          "harmonic schedule, A → ∞", "outside"),
    Claim("harmonic_following", "limit", "2.3", "∫α = ∞: on the way x_t follows argmin R_a(t)",
          "beyond ICLR 2.3", "harmonic schedule; squared loss only", "outside"),
    Claim("entropic_choice", "limit", "2.3",
          "among several minimum-L1 interpolators the limit minimises an entropy",
          "beyond ICLR 2.3", "A → ∞, repeated columns", "outside"),
    Claim("lasso_kkt", "penalised", "2.3",
          "constant α: the limit meets the KKT conditions of the LASSO with λ = 2α",
          "beyond ICLR 2.3", "α constant; squared loss only", "outside"),
    Claim("lasso_agreement", "penalised", "2.3",
          "constant α: the limit is scikit-learn's Lasso(2α)", "beyond ICLR 2.3",
          "α constant; squared loss only", "outside"),
    Claim("lasso_suboptimality", "penalised", "2.3",
          "constant α: integrated (m, w) descend to it, F_t − F* ≤ KL/(2t)", "beyond ICLR 2.3",
          "α constant; squared loss only", "outside"),
    Claim("late_l1", "potential", "R", "R_a(x) ~ ½ log(1/a) ‖x‖₁ as a → 0", "ICLR 2.1",
          "A in [1, 3]"),
    Claim("printed_late_l1", "potential", "R", "R_a(x) ~ log(1/a) ‖x‖₁", "v1 App. A",
          "A in [1, 3]", "printed", "late_l1"),
    Claim("early_l2", "potential", "R", "R_a is quadratic, D_R(x, 0) ≈ Σ x²/(4a), as a → ∞",
          "ICLR 2.1", "a ≥ 10∣x∣"),
    Claim("type_of_bias", "potential", "R",
          "the exponent of R_a falls with A from 2 (L2) to 1 (L1)", "ICLR 2.1, v1 3.1",
          "A in [0, 4]"),
    Claim("reachable_range", "potential", "R",
          "what gradients ∣∫∇f∣ ≤ G can reach shrinks like e^(−4A)", "ICLR 2.1",
          "A in [0, 10], G in [0.1, 5]"),
    Claim("smoothness", "potential", "R", "∇R_a has the least Lipschitz constant 1/(2 min a)",
          "v1 Remark 2.1", "any a"),
    Claim("printed_smoothness", "potential", "R", "∇R_a has the Lipschitz constant a",
          "v1 Remark 2.1", "any a", "printed", "smoothness"),
    Claim("product_commutes", "commuting", "C", "m ⊙ w commutes", "v1 C.1", "random θ and d"),
    Claim("squares_commute", "commuting", "C", "u² − v² commutes", "Li et al. 2022",
          "random θ, d"),
    Claim("powers_commute", "commuting", "C", "u^L − v^L commutes, L = 3, 4, 5",
          "Li et al. 2022", "random θ and d"),
    Claim("neurons_do_not_commute", "commuting", "C",
          "neuron-wise masks m·w (scalar m) do not commute (rounding/bracket)", "v1 C.1",
          "random θ and d ≥ 2"),
    Claim("neurons_leave_kernel", "commuting", "C",
          "brackets of neuron-wise masks leave ker ∂g: no mirror flow (rounding/∂g bracket)",
          "v1 C.1", "random θ and d ≥ 2"),
    Claim("decay_commutes", "commuting", "C", "α(‖m‖² + ‖w‖²) commutes with m ⊙ w",
          "ICLR 2.1, v1 C.1", "random θ and d"),
    Claim("mask_decay_does_not_commute", "commuting", "C",
          "‖m‖² alone does not commute with m ⊙ w (rounding/bracket)", "v1 C.1",
          "random θ and d"),
    Claim("limit_sharpness", "sharpness", "S",
          "λ_max of the Hessian in (m, w) at the limit is λ_max((2/n) Z diag(√(x² + a²)) Zᵀ)",
          "companion of ICLR 2.2's rate", "interpolating limit; squared loss only"),
    Claim("stable_below", "sharpness", "S",
          "GD with 0.95·2/λ_max shrinks by ∣1 − ηλ_max∣ a step", "stability of GD",
          "at the limit; squared loss only"),
    Claim("unstable_above", "sharpness", "S",
          "GD with 1.05·2/λ_max grows by ∣1 − ηλ_max∣ a step", "stability of GD",
          "at the limit; squared loss only"),
    Claim("stable_step", "sharpness", "S",
          "the paper's step η = 1e-4 keeps λ_max of F_t's Hessian below 2/η along the flow",
          "v1 Fig. 1", "squared loss only"),
)
# fmt: on
