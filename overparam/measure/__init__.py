"""Model (and data) to numbers; never changes a model."""

from overparam.measure.best_rate import at_best_rate
from overparam.measure.best_rival import margin_over_best
from overparam.measure.call_counter import CallCounter
from overparam.measure.corruption_accuracy import corruption_accuracy
from overparam.measure.decay import DecayFit, TooFewPointsError, fit_decay, steps_until
from overparam.measure.decay_table import decay_table
from overparam.measure.description_length import DescriptionLength, mdl_upper_bound
from overparam.measure.dimension_tables import dimension_tables
from overparam.measure.equal_size import equal_size_rivals
from overparam.measure.exported import explain, measure_exports
from overparam.measure.factor_monitor import FactorAdvice, FactorMonitor
from overparam.measure.flatness import Flatness, flatness, flatness_tables, lambda_max
from overparam.measure.flops import count_flops
from overparam.measure.hessian_eigenvalues import (
    HutchinsonTrace,
    NotFiniteError,
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
from overparam.measure.recorded_training import RecordedTraining, recorded_training
from overparam.measure.run_correlations import run_correlations
from overparam.measure.sam_sharpness import sam_sharpness
from overparam.measure.shortest_code import shortest_code
from overparam.measure.size_trend import size_trend
from overparam.measure.spline_violation import (
    SplineViolation,
    spline_violation,
    violation_curve,
)
from overparam.measure.sweep_stability import sweep_stability
from overparam.measure.tensor_memory import peak_tensor_bytes
from overparam.measure.timed import timed
from overparam.measure.trajectory_path import TrajectoryPath

__all__ = [
    "CallCounter",
    "DecayFit",
    "DescriptionLength",
    "FactorAdvice",
    "FactorMonitor",
    "Flatness",
    "HutchinsonTrace",
    "IntrinsicDimResult",
    "LatencyRatio",
    "LearningRateChoice",
    "LossSlice",
    "NotFiniteError",
    "ParamReport",
    "RecordedTraining",
    "SplineViolation",
    "TooFewPointsError",
    "TrajectoryPath",
    "at_best_rate",
    "corruption_accuracy",
    "count_flops",
    "decay_table",
    "dimension_by_seed",
    "dimension_summary",
    "dimension_tables",
    "equal_size_rivals",
    "expected_calibration_error",
    "explain",
    "filter_normalised",
    "fit_decay",
    "flatness",
    "flatness_tables",
    "hessian_top_eigenvalues",
    "hessian_trace",
    "intrinsic_dimension",
    "intrinsic_dimension_of_runs",
    "intrinsic_dimension_ratio",
    "lambda_max",
    "latency_ratio",
    "loss_slice_1d",
    "loss_slice_2d",
    "margin_over_best",
    "matched_loss_report",
    "mdl_upper_bound",
    "measure_exports",
    "param_report",
    "peak_tensor_bytes",
    "quality",
    "recorded_training",
    "run_correlations",
    "sam_sharpness",
    "sharpness_at_loss",
    "shortest_code",
    "size_trend",
    "spline_violation",
    "steps_until",
    "sweep_stability",
    "timed",
    "violation_curve",
]
