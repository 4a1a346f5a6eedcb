"""The Typer application and what its exit status means.

Exit status: 0 when everything ran (whatever the verdicts), 1 when a step failed, 2 for bad
arguments, 130 when interrupted, 143 when ended by SIGTERM. Heavy libraries are imported inside
commands: ``overparam list`` needs neither torch nor prefect.
"""

import os
import signal
import sys
import traceback
from types import FrameType
from typing import Annotated, NoReturn

import typer

from flows.cli import catalogue, compressing, operating, reports, running, server, store
from overparam import __version__
from overparam.errors import BadInput, DeclarationError

FAILED = 1
USAGE = 2
INTERRUPTED = 130
TERMINATED = 143
GOES_ON = "what was finished is stored, the same command goes on from there"

app = typer.Typer(
    name="overparam",
    help="Measure, exploit and remove over-parameterization; every technique is checked against "
    "the paper that claims it.",
    epilog="Start with: overparam list · overparam run parameter-sharing",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"overparam {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the program itself."""


app.command("list")(catalogue.list_studies)
app.command("show")(catalogue.show)
app.command("run")(running.run)
app.command("reproduce")(running.reproduce)
app.command("compress")(compressing.compress)
app.command("why")(running.why)
app.command("rerun")(operating.rerun)
app.command("compare")(operating.compare)
app.command("verdicts")(reports.verdicts)
app.command("report")(reports.report)
app.command("clean")(store.clean)
app.add_typer(store.app, name="store")
app.command("serve")(operating.serve)
app.command("ui")(operating.ui)
app.add_typer(server.app, name="server")


def main() -> None:
    """Run the command line; a known error is one line on standard error, never a traceback.

    ``--verbose`` shows the traceback too.
    """
    verbose = "--verbose" in sys.argv
    if not verbose:
        # Prefect reads this when it is imported: its log goes to the UI; what failed is told at the
        # end of a run, in our own words.
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    # Arrow's own allocator keeps tens of megabytes of what it freed. Worker processes inherit this.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = app(standalone_mode=False)
    except SystemExit as end:
        if end.code == TERMINATED:
            _say(f"ended by SIGTERM; {GOES_ON}")
        raise
    except typer.TyperException as error:
        if reason := error.format_message():  # none where the help has been shown instead
            _say(" ".join(reason.split()))
        sys.exit(USAGE)
    except Exception as error:
        if verbose:
            traceback.print_exception(error)
        _say(str(error) or type(error).__name__)
        if not isinstance(error, _usage_errors()):
            if not verbose:
                _say("this was not expected; --verbose shows where it happened")
            sys.exit(FAILED)
        sys.exit(USAGE)
    if status == INTERRUPTED:
        _say(f"interrupted; {GOES_ON}")
    sys.exit(status)


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Unwind as Ctrl-C does, so that workers end and nothing stays pinned."""
    sys.exit(TERMINATED)


def _usage_errors() -> tuple[type[Exception], ...]:
    from overparam.store import StoreError, StoreNameError

    return (BadInput, DeclarationError, StoreError, StoreNameError)


def _say(text: str) -> None:
    print(f"overparam: {text}", file=sys.stderr)
