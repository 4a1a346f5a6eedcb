"""Model (and data) to numbers; never changes a model."""

from overparam.measure.call_counter import CallCounter
from overparam.measure.decay import DecayFit, TooFewPointsError, fit_decay, steps_until
from overparam.measure.decay_table import decay_table
from overparam.measure.description_length import DescriptionLength, mdl_upper_bound
from overparam.measure.exported import explain, measure_exports
from overparam.measure.factor_monitor import FactorAdvice, FactorMonitor
from overparam.measure.flops import count_flops
from overparam.measure.hessian_eigenvalues import (
    HutchinsonTrace,
    hessian_top_eigenvalues,
    hessian_trace,
)
from overparam.measure.intrinsic_dimension import (
    IntrinsicDimResult,
    intrinsic_dimension,
    intrinsic_dimension_ratio,
)
from overparam.measure.intrinsic_dimension_runs import (
    dimension_by_seed,
    dimension_summary,
    intrinsic_dimension_of_runs,
)
from overparam.measure.latency import LatencyRatio, latency_ratio
from overparam.measure.learning_rate_choice import LearningRateChoice
from overparam.measure.loss_slice import (
    LossSlice,
    filter_normalised,
    loss_slice_1d,
    loss_slice_2d,
)
from overparam.measure.matched_loss import matched_loss_report, sharpness_at_loss
from overparam.measure.parameters import ParamReport, param_report
from overparam.measure.quality import expected_calibration_error, quality
from overparam.measure.sam_sharpness import sam_sharpness
from overparam.measure.shortest_code import shortest_code
from overparam.measure.spline_violation import (
    SplineViolation,
    spline_violation,
    violation_curve,
)
from overparam.measure.tensor_memory import peak_tensor_bytes
from overparam.measure.trajectory_path import TrajectoryPath

__all__ = [
    "CallCounter",
    "DecayFit",
    "DescriptionLength",
    "FactorAdvice",
    "FactorMonitor",
    "HutchinsonTrace",
    "IntrinsicDimResult",
    "LatencyRatio",
    "LearningRateChoice",
    "LossSlice",
    "ParamReport",
    "SplineViolation",
    "TooFewPointsError",
    "TrajectoryPath",
    "count_flops",
    "decay_table",
    "dimension_by_seed",
    "dimension_summary",
    "expected_calibration_error",
    "explain",
    "filter_normalised",
    "fit_decay",
    "hessian_top_eigenvalues",
    "hessian_trace",
    "intrinsic_dimension",
    "intrinsic_dimension_of_runs",
    "intrinsic_dimension_ratio",
    "latency_ratio",
    "loss_slice_1d",
    "loss_slice_2d",
    "matched_loss_report",
    "mdl_upper_bound",
    "measure_exports",
    "param_report",
    "peak_tensor_bytes",
    "quality",
    "sam_sharpness",
    "sharpness_at_loss",
    "shortest_code",
    "spline_violation",
    "steps_until",
    "violation_curve",
]
