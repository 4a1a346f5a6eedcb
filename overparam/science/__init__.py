"""Domain objects: operators, splines, profiles, meshes."""

from overparam.science.autoknots import AutoKnotsResult, Sweep, autoknots
from overparam.science.differentiable_cubic import DifferentiableCubic
from overparam.science.fit_tables import fit_tables
from overparam.science.four_point import autoknots_four_point
from overparam.science.grid_spline import grid_spline
from overparam.science.knot_audit import AuditRound, KnotAudit, audit_knots
from overparam.science.knot_sampling import DiscontinuityError
from overparam.science.projected_profile import mean_inside, projected_profile
from overparam.science.thin_table import ThinnedTable, thin_table

__all__ = [
    "AuditRound",
    "AutoKnotsResult",
    "DifferentiableCubic",
    "DiscontinuityError",
    "KnotAudit",
    "Sweep",
    "ThinnedTable",
    "audit_knots",
    "autoknots",
    "autoknots_four_point",
    "fit_tables",
    "grid_spline",
    "mean_inside",
    "projected_profile",
    "thin_table",
]
