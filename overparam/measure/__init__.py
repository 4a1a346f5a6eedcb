"""Model (and data) to numbers; never changes a model."""

from overparam.measure.decay import DecayFit, fit_decay, steps_until
from overparam.measure.description_length import DescriptionLength, mdl_upper_bound
from overparam.measure.factor_monitor import FactorAdvice, FactorMonitor
from overparam.measure.intrinsic_dimension import (
    IntrinsicDimResult,
    intrinsic_dimension,
    intrinsic_dimension_ratio,
)
from overparam.measure.latency import LatencyRatio, latency_ratio
from overparam.measure.learning_rate_choice import LearningRateChoice
from overparam.measure.parameters import ParamReport, param_report
from overparam.measure.spline_violation import SplineViolation, spline_violation

__all__ = [
    "DecayFit",
    "DescriptionLength",
    "FactorAdvice",
    "FactorMonitor",
    "IntrinsicDimResult",
    "LatencyRatio",
    "LearningRateChoice",
    "ParamReport",
    "SplineViolation",
    "fit_decay",
    "intrinsic_dimension",
    "intrinsic_dimension_ratio",
    "latency_ratio",
    "mdl_upper_bound",
    "param_report",
    "spline_violation",
    "steps_until",
]
