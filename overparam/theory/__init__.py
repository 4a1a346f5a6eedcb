"""Solvable models and closed forms: NumPy, no training."""

from overparam.theory.group_sums import group_sum_loss, group_sum_minimum, group_sum_targets
from overparam.theory.halo import (
    rho_hernquist,
    rho_nfw,
    sigma_bar_hernquist,
    sigma_bar_nfw,
    sigma_hernquist,
    sigma_nfw,
)
from overparam.theory.sensing import SensingRates, recovery_noise_floor, sensing_rates
from overparam.theory.sharing_variance import prune_variance, raw_kurtosis, rps_variance
from overparam.theory.variance_comparison import (
    VarianceRow,
    family_variances,
    vector_variances,
)
from overparam.theory.zero_mean_families import FAMILIES, family_draws

__all__ = [
    "FAMILIES",
    "SensingRates",
    "VarianceRow",
    "family_draws",
    "family_variances",
    "group_sum_loss",
    "group_sum_minimum",
    "group_sum_targets",
    "prune_variance",
    "raw_kurtosis",
    "recovery_noise_floor",
    "rho_hernquist",
    "rho_nfw",
    "rps_variance",
    "sensing_rates",
    "sigma_bar_hernquist",
    "sigma_bar_nfw",
    "sigma_hernquist",
    "sigma_nfw",
    "vector_variances",
]
