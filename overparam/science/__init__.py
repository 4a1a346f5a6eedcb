"""Domain objects: operators, splines, profiles, meshes."""

from overparam.science.autoknots import AutoKnotsResult, Sweep, autoknots
from overparam.science.differentiable_cubic import DifferentiableCubic
from overparam.science.fit_errors import fit_errors, knots_on_graph, violation_curves
from overparam.science.fit_tables import fit_tables, read_fits
from overparam.science.four_point import autoknots_four_point
from overparam.science.grid_spline import grid_spline
from overparam.science.knot_audit import AuditRound, KnotAudit, audit_knots
from overparam.science.knot_sampling import DiscontinuityError
from overparam.science.projected_profile import (
    mean_inside,
    mean_inside_error,
    projected_profile,
)
from overparam.science.search_cost import search_cost
from overparam.science.target_functions import (
    DRAWS_PER_SEED,
    FIXED_FUNCTIONS,
    HALO_RADII,
    HALOS,
    HaloTarget,
    TargetFunction,
    target_functions,
    target_table,
)
from overparam.science.target_searches import (
    SEARCHES,
    grids_of_equal_size,
    knot_search,
    search_targets,
)
from overparam.science.thin_table import ThinnedTable, needed_rows, thin_table

__all__ = [
    "DRAWS_PER_SEED",
    "FIXED_FUNCTIONS",
    "HALOS",
    "HALO_RADII",
    "SEARCHES",
    "AuditRound",
    "AutoKnotsResult",
    "DifferentiableCubic",
    "DiscontinuityError",
    "HaloTarget",
    "KnotAudit",
    "Sweep",
    "TargetFunction",
    "ThinnedTable",
    "audit_knots",
    "autoknots",
    "autoknots_four_point",
    "fit_errors",
    "fit_tables",
    "grid_spline",
    "grids_of_equal_size",
    "knot_search",
    "knots_on_graph",
    "mean_inside",
    "mean_inside_error",
    "needed_rows",
    "projected_profile",
    "read_fits",
    "search_cost",
    "search_targets",
    "target_functions",
    "target_table",
    "thin_table",
    "violation_curves",
]
