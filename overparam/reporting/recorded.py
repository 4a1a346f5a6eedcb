"""Recorded verdicts of full profiles: ``data/verdicts.json``, committed with the project.

Full profiles run by hand. A recorded verdict is *stale* when the study's config or the code that it
reaches is no longer what was measured.
"""

import json
import os
import platform
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import overparam
from overparam.errors import BadInput
from overparam.reporting.keys import STEP, verdict_fingerprint
from overparam.store import Manifest, Store
from overparam.study import Declaration, make_plan

PROFILE = "full"


@dataclass(frozen=True)
class Recorded:
    """The recorded verdict of one claim; ``stale`` says that it was measured with other code."""

    claim: str
    title: str
    verdict: str
    effect: float | None
    low: float | None
    high: float | None
    n: int | None
    fingerprint: str
    date: str
    machine: str
    stale: bool = False


def verdicts_file() -> Path:
    """The committed file: of the checkout, or as it was when this package was built."""
    package = Path(overparam.__file__).parent
    in_checkout = package.parent / "data" / "verdicts.json"
    return in_checkout if in_checkout.is_file() else package / "_data" / "verdicts.json"


def recorded_verdicts(study: Declaration) -> dict[str, Recorded]:
    """The recorded verdicts of a study, by the name of the claim's function."""
    rows = _read(verdicts_file()).get(study.name, {})
    current = verdict_fingerprint(make_plan(study, PROFILE)) if rows else ""
    return {
        name: Recorded(claim=name, **row, stale=row["fingerprint"] != current)
        for name, row in rows.items()
    }


def record_verdicts(study: Declaration, store: Store) -> dict[str, Recorded]:
    """Record the newest verdicts of the study's full profile in the store.

    Raises:
        BadInput: the store has no report of the full profile as it is declared.
    """
    manifest = _newest_full(study, store)
    measured = str(manifest.meta["verdicts"])
    table = store.read(manifest.ref)["verdicts"]
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    rows = {}
    for row in map(json.loads, table["row"]):
        rows[row["name"]] = Recorded(
            claim=row["name"],
            title=row["claim"],
            verdict=row["verdict"],
            effect=row["effect"],
            low=row["low"],
            high=row["high"],
            n=row["n"],
            fingerprint=measured,
            date=f"{manifest.written:%Y-%m-%d}",
            machine=machine,
        )
    content = _read(verdicts_file())
    content[study.name] = {name: _without(asdict(row)) for name, row in rows.items()}
    text = json.dumps(dict(sorted(content.items())), indent=2, ensure_ascii=False)
    verdicts_file().write_text(text + "\n", encoding="utf-8")
    _read.cache_clear()
    current = verdict_fingerprint(make_plan(study, PROFILE))
    return {name: replace(row, stale=measured != current) for name, row in rows.items()}


def _newest_full(study: Declaration, store: Store) -> Manifest:
    manifests = (store.manifest(ref) for ref in store.refs(study.name, STEP))
    full = [
        manifest
        for manifest in manifests
        if manifest is not None
        and manifest.meta["profile"] == PROFILE
        and not manifest.meta["overridden"]
    ]
    if not full:
        raise BadInput(
            f"{store.address} has no report of the full profile of {study.name}; first run: "
            f"overparam run {study.name} --profile full"
        )
    return max(full, key=lambda manifest: manifest.written)


def _without(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("claim", "stale")}


@lru_cache
def _read(path: Path) -> dict[str, dict[str, dict[str, Any]]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
