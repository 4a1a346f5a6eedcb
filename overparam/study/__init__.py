"""How an experiment is written down, planned and run.

A study is one file::

    from overparam.study import Field, Paper, Study, StudyConfig

    class Config(StudyConfig):
        size: int = Field(40, ge=2, description="side of the matrix")

    study = Study("my-study", theme="optimization", config=Config, question="...")

    @study.generate
    def problem(*, size, seeds): ...

    @study.train
    def descent(problem, *, seeds): ...

    @study.claim("It converges", source="Theorem 1", arm="plain", control="frozen")
    def converges(descent, *, arm): ...
"""

from pydantic import Field

from overparam.errors import (
    ConfigError,
    DeclarationError,
    Diverged,
    StepFailed,
    StudyError,
)
from overparam.store import Tables
from overparam.study.config import OneOf, StudyConfig
from overparam.study.declaration import Declaration, Figure, Paper
from overparam.study.execution import (
    StepRecord,
    artifact_refs,
    cached_records,
    missing_cells,
    record_of,
    run_unit,
)
from overparam.study.loading import load_object
from overparam.study.plan import Cell, Plan, Unit, make_plan
from overparam.study.sources import DataFile, Factory, PackageFile, Weights
from overparam.study.steps import Step
from overparam.study.study import Results, Study, mending, step_tables, verdicts_of
from overparam.study.verdicts import Claim, ClaimVerdict, judge_claims, permuted

__all__ = [
    "Cell",
    "Claim",
    "ClaimVerdict",
    "ConfigError",
    "DataFile",
    "Declaration",
    "DeclarationError",
    "Diverged",
    "Factory",
    "Field",
    "Figure",
    "OneOf",
    "PackageFile",
    "Paper",
    "Plan",
    "Results",
    "Step",
    "StepFailed",
    "StepRecord",
    "Study",
    "StudyConfig",
    "StudyError",
    "Tables",
    "Unit",
    "Weights",
    "artifact_refs",
    "cached_records",
    "judge_claims",
    "load_object",
    "make_plan",
    "mending",
    "missing_cells",
    "permuted",
    "record_of",
    "run_unit",
    "step_tables",
    "verdicts_of",
]
