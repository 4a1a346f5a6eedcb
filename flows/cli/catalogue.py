"""``overparam list`` and ``overparam show``: which studies there are and what is in one."""

import json
from typing import Annotated, Any

import typer

from overparam.errors import BadInput
from overparam.studies import entries, find

Json = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]


def list_studies(
    theme: Annotated[str | None, typer.Option(help="Only the studies of this theme.")] = None,
    as_json: Json = False,
) -> None:
    """List the studies: name, theme, paper."""
    rows = [entry for entry in entries() if entry.paper]
    themes = sorted({entry.theme for entry in rows})
    if theme is not None and theme not in themes:
        raise BadInput(f"no study has the theme {theme!r}; themes: {', '.join(themes)}")
    rows = [entry for entry in rows if theme in (None, entry.theme)]
    if as_json:
        typer.echo(
            json.dumps(
                [
                    {
                        "study": entry.study,
                        "theme": entry.theme,
                        "paper": {
                            name: entry.paper.get(name, "")
                            for name in ("title", "venue", "year", "arxiv")
                        },
                        "profiles": list(entry.profiles),
                        "extras": list(entry.extras),
                        "available": entry.available,
                    }
                    for entry in rows
                ],
                indent=2,
            )
        )
        return
    width = max((len(entry.study) for entry in rows), default=0)
    heading = ""
    for entry in rows:
        if entry.theme != heading:
            heading = entry.theme
            typer.echo(typer.style(heading, bold=True))
        missing = "" if entry.available else f"  [{entry.install_line}]"
        typer.echo(f"  {entry.study:<{width}}  {_cite(entry.paper)}{missing}")


def show(
    study: Annotated[str, typer.Argument(help="Name of a study, or the path of a study file.")],
    as_json: Json = False,
) -> None:
    """Show a study: question, paper, config fields, steps, claims."""
    from overparam.studies import load

    entry = find(study)
    loaded = load(study)
    fields = loaded.config.describe()
    steps = [
        {
            "step": step.name,
            "stage": step.stage,
            "reads": list(step.fields),
            "upstream": [_upstream_name(step, upstream) for upstream in step.inputs.values()],
            "each": list(step.cell_names),
        }
        for step in loaded.steps.values()
    ]
    claims = [
        {
            "claim": claim.title,
            "source": claim.source,
            "arm": claim.arm,
            "control": claim.control_name,
            "decided_at": claim.decided_at,
        }
        for claim in loaded.claims
    ]
    if as_json:
        content = {
            "study": loaded.name,
            "question": loaded.question,
            "fields": fields,
            "steps": steps,
            "claims": claims,
        }
        typer.echo(json.dumps(content, indent=2))
        return
    typer.echo(typer.style(loaded.name, bold=True) + f"  ({entry.theme})")
    if loaded.paper is not None:
        typer.echo(f"{_cite(entry.paper)}\n{loaded.paper.link}")
    typer.echo(f"\n{loaded.question}")
    _print_section("Fields (--set field=value)")
    for row in fields:
        typer.echo(f"  {row['name']} = {json.dumps(row['default'])}")
        typer.echo(f"      {row['description']} ({row['allowed']})")
    _print_section("Steps")
    for step in steps:
        each = f", once per {' x '.join(step['each'])}" if step["each"] else ""
        reads = f" reads {', '.join(step['upstream'])}" if step["upstream"] else ""
        typer.echo(f"  {step['stage']:<9} {step['step']}{reads}{each}")
    _print_section("Claims")
    for claim in claims:
        typer.echo(f"  {claim['claim']}\n      {claim['source']}; arm {claim['arm']}, ", nl=False)
        typer.echo(f"control {claim['control']}; decided at {claim['decided_at']}")


def _upstream_name(step: Any, upstream: Any) -> str:
    return upstream.name if upstream.owner is step.owner else f"{upstream.study}/{upstream.name}"


def _cite(paper: dict[str, Any]) -> str:
    place = ", ".join(str(paper[name]) for name in ("venue", "year") if paper.get(name))
    return f"{paper.get('title', '')} ({place})"


def _print_section(title: str) -> None:
    typer.echo("\n" + typer.style(title, bold=True))
