"""``overparam clean`` and ``overparam store verify``: keep the store small and whole."""

from datetime import timedelta
from typing import Annotated

import typer

from flows.cli.options import JsonOption, StoreOption, VerboseOption

app = typer.Typer(
    help="Look after the store.", no_args_is_help=True, pretty_exceptions_enable=False
)


def clean(
    study: Annotated[str | None, typer.Option(help="Only what belongs to this study.")] = None,
    older_than: Annotated[
        int | None, typer.Option(metavar="DAYS", min=0, help="Only what is older than this.")
    ] = None,
    superseded: Annotated[
        bool, typer.Option("--superseded", help="Artifacts of which the same cell has a newer one.")
    ] = False,
    orphans: Annotated[
        bool, typer.Option("--orphans/--no-orphans", help="Files that no manifest names.")
    ] = True,
    yes: Annotated[bool, typer.Option("--yes", help="Remove; without it, only tell.")] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Tell what could be removed, and remove it with --yes.

    What a running flow reads or a report links to is never removed.

    Examples:

        overparam clean --superseded

        overparam clean --study parameter-sharing --older-than 30 --yes
    """
    import json

    from overparam.store import Store, apply_clean, pinned, plan_clean

    opened = Store.open(store)
    removals = plan_clean(
        opened,
        study=study,
        older_than=None if older_than is None else timedelta(days=older_than),
        superseded=superseded,
        orphans=orphans,
        protected=pinned(opened),
    )
    freed = apply_clean(removals) if yes else sum(removal.bytes for removal in removals)
    if as_json:
        rows = [{"path": str(r.path), "bytes": r.bytes, "why": r.why} for r in removals]
        typer.echo(json.dumps({"removed": yes, "bytes": freed, "removals": rows}, indent=2))
        return
    for removal in removals:
        typer.echo(f"{removal.bytes:>12,} B  {removal.path}  ({removal.why})")
    verb = "Removed" if yes else "Would remove (say --yes)"
    typer.echo(f"{verb}: {len(removals)} places, {freed / 1e6:.1f} MB")


@app.callback()
def about() -> None:
    """Look after the store."""


@app.command("verify")
def verify(
    repair: Annotated[
        bool, typer.Option("--repair", help="Set what is damaged aside, so that it is made anew.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Check every checksum of every artifact; exit status 1 if something is damaged.

    With --repair a damaged artifact is set aside under quarantine/; the next run of its study makes
    it anew.

    Example: overparam store verify --repair
    """
    import json

    from overparam.store import Store

    opened = Store.open(store)
    found = list(opened.verify())
    if repair:
        for ref in dict.fromkeys(ref for ref, _, _ in found):
            opened.quarantine(ref, "found damaged by `overparam store verify`")
    if as_json:
        rows = [
            {"artifact": str(ref), "table": table, "problem": problem}
            for ref, table, problem in found
        ]
        typer.echo(json.dumps({"damaged": rows, "repaired": repair}, indent=2))
    else:
        for ref, table, problem in found:
            place = f"table {table}" if table else "manifest"
            typer.echo(f"damaged  {ref}  {place}: {problem}")
        count = sum(1 for _ in opened.refs())
        studies = ", ".join(sorted({ref.study for ref, _, _ in found}))
        if not found:
            typer.echo(f"{count} artifacts, all whole.")
        elif repair:
            typer.echo(f"Set aside; make anew: overparam run {studies.replace(', ', ' ')}")
        else:
            typer.echo(f"{len(found)} damaged (--repair sets them aside), in {studies}")
    if found and not repair:
        raise typer.Exit(1)
