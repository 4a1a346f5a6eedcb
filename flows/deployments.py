"""Deployments: what the server schedules, and the forms that its UI shows for runs on demand.

Each study has a deployment of its own, whose form shows the fields of its config with their
descriptions, bounds and defaults.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType
from prefect.utilities.callables import ParameterSchema, parameter_schema

from flows.compress import STUDY as OWN_MODEL
from flows.compress import compress
from flows.reproduce import reproduce
from flows.study import study
from overparam.studies import entries, find, load

NIGHTLY = "0 3 * * *"
WEEKLY = "0 4 * * 6"


def deployments(
    studies: Sequence[str] = (),
    *,
    store: str | None,
    workers: int,
    overlap: int = 1,
    nightly: str = NIGHTLY,
    weekly: str = WEEKLY,
) -> list[RunnerDeployment]:
    """All deployments of this project, for ``prefect.serve``.

    Args:
        studies: names or files of the studies that get a form of their own; none means all.
        store: the store of all runs.
        workers: worker processes of a run.
        overlap: runs of one deployment at once; a further one waits.
        nightly: cron of ``reproduce`` with quick profiles, empty for none.
        weekly: cron of ``reproduce`` with full profiles, empty for none.

    Raises:
        UnknownStudyError: there is no such study.
    """
    common: dict[str, Any] = {
        "concurrency_limit": ConcurrencyLimitConfig(
            limit=overlap, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
        ),
        "entrypoint_type": EntrypointType.MODULE_PATH,
    }
    place = {"store": store, "workers": workers}
    made = [
        RunnerDeployment.from_flow(
            reproduce,
            name=name,
            cron=cron or None,
            parameters={"profile": profile, **place},
            description=f"All studies in the profile {profile}.",
            tags=[profile],
            **common,
        )
        for name, profile, cron in (("nightly", "quick", nightly), ("weekly", "full", weekly))
    ]
    for entry in [find(name) for name in studies] or entries():
        own = entry.study == OWN_MODEL
        if not entry.available or not (entry.paper or own):
            continue
        file = entry.module.endswith(".py")
        name = str(Path(entry.module).absolute()) if file else entry.study
        flow: Flow[..., Any] = compress if own else study
        paper = f"\n\nPaper: {entry.paper.get('title', '')}" if entry.paper else ""
        deployment = RunnerDeployment.from_flow(
            flow,
            name=entry.study,
            parameters=place if own else {"study": name, **place},
            description=f"{entry.question}{paper}",
            tags=[entry.theme],
            **common,
        )
        deployment._parameter_openapi_schema = form(flow, name)
        made.append(deployment)
    return made


def form(flow: Flow[..., Any], name: str) -> ParameterSchema:
    """The schema of a flow with the fields of a study's config in its ``settings``.

    Defaults are told in the descriptions, not set: a form sends what it shows, and would override
    with the quick profile's values what the profile says.
    """
    schema = parameter_schema(flow).model_dump()
    properties = dict(schema["properties"])
    if "study" in properties:
        properties["study"] = {**properties["study"], "enum": [name], "default": name}
    if "from_step" in properties:
        steps = {"type": "string", "enum": list(load(name).steps)}
        properties["from_step"] = {**properties["from_step"], "anyOf": [steps, {"type": "null"}]}
    config = load(name).config
    told = _in_form(config.model_json_schema())
    defaults = {p: config.for_profile(p).model_dump(mode="json") for p in ("quick", "full")}
    fields = {
        field: {
            **{part: value for part, value in given.items() if part != "default"},
            "title": field,
            "position": position,
            "description": f"{given.get('description', '')} ({_default(field, defaults)})".strip(),
        }
        for position, (field, given) in enumerate(told["properties"].items())
    }
    properties["settings"] = {
        **properties["settings"],
        "properties": fields,
        "additionalProperties": False,
    }
    definitions = {**schema["definitions"], **told.get("$defs", {})}
    return ParameterSchema(**{**schema, "properties": properties, "definitions": definitions})


def _default(field: str, defaults: Mapping[str, Mapping[str, Any]]) -> str:
    """``default 15``, or ``default 15, in full 60``."""
    quick, full = (_words(defaults[profile][field]) for profile in ("quick", "full"))
    return f"default {quick}" + (f", in full {full}" if full != quick else "")


def _words(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, list):
        return ", ".join(map(_words, value)) or "none"
    return value if isinstance(value, str) else json.dumps(value)


def _in_form(part: Any) -> Any:
    """References as the form has them: pydantic's ``$defs`` lie under ``definitions`` there."""
    if isinstance(part, dict):
        return {name: _in_form(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_in_form(value) for value in part]
    return part.replace("#/$defs/", "#/definitions/") if isinstance(part, str) else part
