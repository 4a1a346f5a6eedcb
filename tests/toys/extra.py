"""A toy study that needs an extra which nobody has, and says so before its import would fail."""

import a_module_that_nobody_has  # noqa: F401

from overparam.study import Paper, Study, StudyConfig

study = Study(
    "needs-extra",
    theme="toys",
    config=StudyConfig,
    question="Is it skipped?",
    paper=Paper(title="On Absence", authors="N. Obody", year=2001),
    extras=("no-such-extra",),
)
