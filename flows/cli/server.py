"""``overparam server start|stop|status``: the local Prefect server that runs report to."""

import json
from typing import Annotated

import typer

app = typer.Typer(
    help="The local Prefect server: start, stop, status.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.command("start")
def start() -> None:
    """Start the local server in the background, unless it runs."""
    from flows.server import healthy, local_url, start_server

    if healthy(local_url()):
        typer.echo(f"The local Prefect server runs already: {_ui()}")
        return
    start_server()
    typer.echo(f"Started a local Prefect server: {_ui()} (stop it: overparam server stop)")


@app.command("stop")
def stop() -> None:
    """Stop the local server."""
    from flows.server import stop_server

    typer.echo("Stopped." if stop_server() else f"No local Prefect server runs at {_ui()}.")


@app.command("status")
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON alone.")] = False,
) -> None:
    """Say whether the local server runs, and where."""
    from flows.server import healthy, local_url

    running = healthy(local_url())
    if as_json:
        typer.echo(json.dumps({"running": running, "api": local_url(), "ui": _ui()}))
    else:
        typer.echo(f"{'Running' if running else 'Not running'}: {_ui()}")


def _ui() -> str:
    from flows.server import local_url

    return local_url().removesuffix("/api")
