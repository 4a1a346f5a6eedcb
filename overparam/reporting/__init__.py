"""Reports: verdicts and figures as artifacts, pages, and the recorded verdicts."""

from overparam.reporting.comparison import comparison_page
from overparam.reporting.index import IndexClaim, IndexRow, write_index
from overparam.reporting.keys import report_ref
from overparam.reporting.recorded import Recorded, record_verdicts, recorded_verdicts
from overparam.reporting.report import Content, Report, failed_report, make_report
from overparam.reporting.scoreboard import scoreboard_markdown, update_readme

__all__ = [
    "Content",
    "IndexClaim",
    "IndexRow",
    "Recorded",
    "Report",
    "comparison_page",
    "failed_report",
    "make_report",
    "record_verdicts",
    "recorded_verdicts",
    "report_ref",
    "scoreboard_markdown",
    "update_readme",
    "write_index",
]
