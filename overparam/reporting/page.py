"""Write a study's page: one HTML file that needs nothing else."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from upath import UPath

from overparam.reporting.forest import WIDTH, forest
from overparam.reporting.html import asset, render
from overparam.reporting.lineage import NODE, lineage
from overparam.reporting.theme import theme
from overparam.reporting.vega import vega_bundle
from overparam.reporting.words import answer
from overparam.store.files import put
from overparam.study import StudyConfig

if TYPE_CHECKING:
    from overparam.reporting.report import Content

SINGLE_VIEWS = ("mark", "layer")
SPLIT_CHANNELS = ("row", "column", "facet")


def write_page(content: "Content", place: UPath) -> None:
    """Write the page of a run."""
    place.parent.mkdir(parents=True, exist_ok=True)
    put(place, page_html(content).encode())


def page_html(content: "Content") -> str:
    """The page of a run as HTML."""
    plan = content.plan
    figures = [_figure(figure) for figure in content.figures]
    interactive = any(figure["spec"] for figure in figures)
    recorded = {name: row.verdict for name, row in content.recorded.items()}
    titles = [claim.title for claim in plan.study.claims]
    judged = {row["name"] for row in content.verdicts}
    return render(
        "page.html.jinja",
        scripts=[vega_bundle(), asset("page.js")] if interactive else [],
        content=content,
        plan=plan,
        study=plan.study,
        paper=plan.study.paper,
        answer=content.answer or answer(content.verdicts, titles, plan.profile, recorded),
        claims=[{**row, "panels": forest(row)} for row in content.verdicts],
        unjudged=[claim for claim in plan.study.claims if claim.name not in judged],
        figures=figures,
        themes={"light": theme(), "dark": theme(dark=True)},
        configs=_configs(content),
        graph=lineage(plan, content.records),
        troubled=[record for record in content.records if record.state in ("failed", "skipped")],
        errors=list(dict.fromkeys(r.error for r in content.records if r.error)),
        forest_width=WIDTH,
        node_width=NODE[0],
        node_height=NODE[1],
    )


def _figure(row: Mapping[str, Any]) -> dict[str, Any]:
    png = base64.b64encode(row["png"]).decode() if row["png"] else ""
    spec = responsive(json.loads(row["spec"])) if row["spec"] else None
    table = json.loads(row["table"]) if row["table"] else None
    return {**row, "spec": spec, "png": png, "table": table}


def responsive(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The specification, as wide as the page where its author gave no width.

    A chart of several views keeps its widths (Vega-Lite sizes only a single view by its container)
    and scrolls by itself where the page is narrower.
    """
    split = any(channel in spec.get("encoding", {}) for channel in SPLIT_CHANNELS)
    if "width" in spec or split or not any(view in spec for view in SINGLE_VIEWS):
        return dict(spec)
    return {**spec, "width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}


def _configs(content: "Content") -> list[dict[str, Any]]:
    """The study's config, then those of the bases that it reads."""
    plan = content.plan
    configs = [(plan.study.name, plan.config)]
    configs += [(base.name, config) for base, config in plan.bases.values()]
    return [{"study": name, "rows": _config_rows(config, plan.profile)} for name, config in configs]


def _config_rows(config: StudyConfig, profile: str) -> list[dict[str, Any]]:
    values = config.model_dump(mode="json")
    usual = config.for_profile(profile).model_dump(mode="json")
    return [
        {**row, "value": _shown(values[row["name"]]), "usual": _shown(usual[row["name"]])}
        for row in config.describe()
    ]


def _shown(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_shown, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
