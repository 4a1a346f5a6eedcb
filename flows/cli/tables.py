"""The terminal tables that close a run: verdicts, what failed, where the report is."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.compare import Comparison
from flows.reproduce import WHOLE
from flows.study import StudyRun, summary
from overparam.reporting import Recorded, recorded_verdicts
from overparam.reporting.words import interval, number, region, size
from overparam.studies import load

if TYPE_CHECKING:
    from flows.server import Api

COLOURS = {
    "reproduced": "green",
    "contradicted": "red",
    "inconclusive": "yellow",
    "undecided": "dim",
    "void": "magenta",
}


def print_runs(runs: Sequence[StudyRun], api: "Api | None") -> None:
    """Print what came out of some runs."""
    console = Console()
    for run in runs:
        if run.verdicts:
            console.print(verdict_table(run))
        for error in dict.fromkeys(record.error for record in run.failed):
            text = Text.assemble(("failed ", "red"), error)
            console.print(text, highlight=False, soft_wrap=True)
        for record in run.steps:
            if record.state == "skipped" and record.step == WHOLE:
                text = Text.assemble(("skipped ", "yellow"), record.error)
                console.print(text, highlight=False, soft_wrap=True)
        for change in run.changes:
            console.print(f"[yellow]changed[/yellow] {change}", highlight=False, soft_wrap=True)
        console.print(summary(run), highlight=False)
        if run.report:
            console.print(f"Report: {run.report}", highlight=False, soft_wrap=True)
        if api is not None and run.flow_run_id:
            address = f"{api.ui}/runs/flow-run/{run.flow_run_id}"
            console.print(f"In the Prefect UI: {address}", highlight=False, soft_wrap=True)
    if len(runs) > 1:
        failed = [run.study for run in runs if run.failed]
        skipped = [run.study for run in runs if [r.state for r in run.steps] == ["skipped"]]
        tail = f"; failed: {', '.join(failed)}" if failed else ""
        tail += f"; skipped: {', '.join(skipped)}" if skipped else ""
        console.print(f"{len(runs)} studies{tail}", highlight=False)


def verdict_table(run: StudyRun) -> Table:
    """A row per claim; where this profile can't decide, the recorded full verdict beside it."""
    table = Table(title=f"{run.study} ({run.profile})", title_justify="left", show_lines=True)
    table.add_column("claim", ratio=1)
    table.add_column("verdict", no_wrap=True)
    table.add_column("effect, interval, allowed", justify="right", no_wrap=True)
    table.add_column("control", justify="right", no_wrap=True)
    recorded = recorded_verdicts(load(run.name)) if run.profile == "quick" else {}
    for row in run.verdicts:
        table.add_row(
            row["claim"],
            _verdict_cell(row, recorded.get(row["name"])),
            f"{_with_interval(row)}\n{region(row['region'])}",
            number(row["control"]["effect"]),
        )
    return table


def _verdict_cell(row: dict[str, Any], recorded: Recorded | None) -> str:
    verdict = row["verdict"]
    text = f"[{COLOURS[verdict]}]{verdict}[/]"
    if verdict == "undecided" and recorded is not None:
        stale = ", stale" if recorded.stale else ""
        text += f"\n[{COLOURS[recorded.verdict]}]{recorded.verdict}[/] in full{stale}"
    return text


def _with_interval(row: Mapping[str, Any]) -> str:
    """The effect, and below it its interval unless it is exact."""
    if row["low"] == row["high"]:
        return number(row["effect"])
    return f"{number(row['effect'])}\n[dim]{interval(row['low'], row['high'])}[/]"


def print_recorded(found: Mapping[str, Mapping[str, Recorded]]) -> None:
    """Print the recorded verdicts of some studies."""
    table = Table(title="recorded verdicts of the full profiles", title_justify="left")
    for column in ("study", "claim", "verdict", "effect", "interval", "recorded"):
        table.add_column(column, justify="right" if column in ("effect", "interval") else "left")
    for study, rows in found.items():
        for row in rows.values():
            stale = " [dim](stale)[/]" if row.stale else ""
            table.add_row(
                study,
                row.title,
                f"[{COLOURS[row.verdict]}]{row.verdict}[/]{stale}",
                number(row.effect),
                interval(row.low, row.high),
                row.date,
            )
        if not rows:
            table.add_row(study, "[dim]none recorded[/]", "", "", "", "")
    Console().print(table)


def print_comparison(found: Comparison, *, everything: bool) -> None:
    """Print two runs side by side; what is equal is left out unless ``everything``."""
    console = Console()
    for kind in ("config", "verdict", "effect", "key", "seconds"):
        rows = [row for row in found.of(kind) if everything or not row.same]
        total = len(found.of(kind))
        if not rows:
            console.print(f"{kind}: all {total} equal", highlight=False)
            continue
        title = f"{kind}: {total - len(rows) if not everything else 0} of {total} equal, not shown"
        table = Table(title=kind if everything else title, title_justify="left")
        table.add_column("")
        for record in (found.left, found.right):
            table.add_column(f"{record.id[:8]} {record.profile}")
        for row in rows:
            table.add_row(row.what, _side(row.left), _side(row.right))
        console.print(table)


def _side(value: Any) -> str:
    if isinstance(value, Mapping):
        return _with_interval(value)
    text = "–" if value is None else str(value)
    return text if len(text) < 32 else f"{text[:12]}…"


def print_front(found: Mapping[str, Any]) -> None:
    """Print compressed models, those that keep the budget first, and the answer."""
    from overparam.compress.frontier import label  # its package imports torch, which takes a second

    console = Console()
    if found["front"]:
        console.print(_front_table(found))
    rest = (row for row in found["cells"] if row["state"] != "completed")
    for text in dict.fromkeys(f"{row['state']} {label(row)}: {row['reason']}" for row in rest):
        console.print(text, highlight=False)
    console.print(f"[bold]{found['answer']}[/bold]", highlight=False)


def _front_table(found: Mapping[str, Any]) -> Table:
    """A line per model; formats, ranges over seeds and FLOPs are on the page."""
    dense, metric = found["dense"], found["metric"]
    title = "compressed models, measured on the exported files"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for column in ("", "model"):
        table.add_column(column, no_wrap=True)
    for column in (metric, "on disk", "smaller", "faster"):
        table.add_column(column, justify="right", no_wrap=True)
    given = {**dense, "label": "dense", "chosen": False, "meets": False}
    for row in (given, *found["front"]):
        table.add_row(
            "→" if row["chosen"] else "✓" if row["meets"] else "",
            row["label"],
            f"{row[metric]:.3f}" if metric == "accuracy" else f"{row[metric]:.4g}",
            size(round(row["bytes"])),
            f"{dense['bytes'] / row['bytes']:.1f} ×",
            f"{1 / row['latency']:.1f} ×",
            style="dim" if row is given else None,
            end_section=row is given,
        )
    return table
