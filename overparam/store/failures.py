"""Failures on record: a step that raised would raise again from the same inputs and code.

A record lies under ``ROOT/failures/STUDY/STEP/KEY.json``. It counts as long as the libraries are
those that it was made with; the key holds everything else that the step reads.
"""

import json
from collections.abc import Mapping
from contextlib import suppress

from upath import UPath

from overparam.store.files import put
from overparam.store.names import ArtifactRef
from overparam.store.store import Store


def record_failure(
    store: Store, ref: ArtifactRef, message: str, versions: Mapping[str, str]
) -> None:
    """Remember that the step failed, and why."""
    put(_place(store, ref), json.dumps({"message": message, "versions": dict(versions)}).encode())


def known_failure(store: Store, ref: ArtifactRef, versions: Mapping[str, str]) -> str | None:
    """Why the step failed before with these inputs, this code and these libraries, if it did."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        record = json.loads(_place(store, ref).read_bytes())
        if record["versions"] == dict(versions):
            return str(record["message"])
    return None


def forget_failure(store: Store, ref: ArtifactRef) -> None:
    """Drop the record, since the step has run."""
    _place(store, ref).unlink(missing_ok=True)


def _place(store: Store, ref: ArtifactRef) -> UPath:
    return store.root / "failures" / ref.study / ref.step / f"{ref.key}.json"
