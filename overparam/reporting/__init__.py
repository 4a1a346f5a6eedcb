"""Reports: verdicts and figures as artifacts, pages, and the recorded verdicts."""

from overparam.reporting.keys import report_ref
from overparam.reporting.recorded import Recorded, record_verdicts, recorded_verdicts
from overparam.reporting.report import Content, Report, failed_report, make_report

__all__ = [
    "Content",
    "Recorded",
    "Report",
    "failed_report",
    "make_report",
    "record_verdicts",
    "recorded_verdicts",
    "report_ref",
]
