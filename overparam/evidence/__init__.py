"""Statistics behind a verdict: effects with intervals, and the judgement of arm and control."""

from overparam.evidence._comparisons import (
    difference,
    discordant,
    paired_difference,
    ratio,
)
from overparam.evidence._evidence import Evidence, Region, Scale
from overparam.evidence._level import confidence_level, current_level
from overparam.evidence._summaries import exact, mean, proportion, worst
from overparam.evidence._tables import by_seed, per_group, where
from overparam.evidence._trends import (
    loglog_slope,
    loglog_slopes,
    rank_correlation,
    rank_correlations,
)
from overparam.evidence._verdict import Judgement, Verdict, judge

__all__ = [
    "Evidence",
    "Judgement",
    "Region",
    "Scale",
    "Verdict",
    "by_seed",
    "confidence_level",
    "current_level",
    "difference",
    "discordant",
    "exact",
    "judge",
    "loglog_slope",
    "loglog_slopes",
    "mean",
    "paired_difference",
    "per_group",
    "proportion",
    "rank_correlation",
    "rank_correlations",
    "ratio",
    "where",
    "worst",
]
