"""The manifest: the file that makes an artifact exist, and says what is in it."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from overparam.store.names import ArtifactRef, check_name

MANIFEST = "manifest.json"


def table_file(table: str, sha256: str) -> str:
    """Name of a table's file. It carries the hash, so two writers never mix their tables."""
    return f"{table}-{sha256[:16]}.parquet"


class TableEntry(BaseModel):
    """One table of an artifact: file, size, SHA-256, and the columns with their Arrow types."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    rows: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    columns: dict[str, str]


class Manifest(BaseModel):
    """What an artifact is: address, tables, volatile columns, and how it came to be.


    `meta` holds what the caller gives (config fields read, upstream keys, cell, stage,
    fingerprint, device, seconds, versions); the store reads only `meta["cell"]`. `seal` is the
    SHA-256 of everything else: a flipped bit in a cell or in a number of rows shows. It guards
    against damage, not against malice. Manifests of older versions have none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1]
    study: str
    step: str
    key: str
    written: AwareDatetime
    tables: dict[str, TableEntry]
    volatile: tuple[str, ...] = ()
    meta: dict[str, JsonValue]
    seal: str | None = None

    @model_validator(mode="after")
    def _names_stay_inside(self) -> Self:
        _ = self.ref
        for name, entry in self.tables.items():
            if entry.file != table_file(check_name("table", name), entry.sha256):
                raise ValueError(
                    f"table {name!r} lies in {entry.file!r}, a name that its hash does not give"
                )
        return self

    @property
    def whole(self) -> bool:
        """Whether the content is what was written, as far as the manifest can tell."""
        return self.seal is None or self.seal == self._digest()

    @property
    def ref(self) -> ArtifactRef:
        """The artifact's address."""
        return ArtifactRef(self.study, self.step, self.key)

    @property
    def cell(self) -> dict[str, Any]:
        """The cell that the artifact belongs to, `{}` for a step that isn't spread."""
        cell = self.meta.get("cell")
        return cell if isinstance(cell, dict) else {}

    @property
    def rows(self) -> int:
        """Rows of all tables together."""
        return sum(entry.rows for entry in self.tables.values())

    @property
    def bytes(self) -> int:
        """Bytes of all table files together."""
        return sum(entry.bytes for entry in self.tables.values())

    @classmethod
    def new(
        cls,
        ref: ArtifactRef,
        tables: Mapping[str, TableEntry],
        *,
        written: datetime,
        volatile: tuple[str, ...],
        meta: Mapping[str, Any],
    ) -> Self:
        """A manifest that equals the one read back from its text: tuples in `meta` are lists."""
        bare = cls(
            format=1,
            study=ref.study,
            step=ref.step,
            key=ref.key,
            written=written,
            tables=dict(tables),
            volatile=volatile,
            meta=checked_meta(meta),
        )
        return bare.model_copy(update={"seal": bare._digest()})

    def text(self) -> str:
        """The manifest as it is stored."""
        return json.dumps(self.model_dump(mode="json"), indent=1, allow_nan=False) + "\n"

    def _digest(self) -> str:
        content = self.model_dump(mode="json", exclude={"seal"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def checked_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """`meta` as JSON has it.

    Raises:
        ValueError: an entry that JSON can't hold (NaN and infinities included), by name.
    """
    checked = {}
    for name, value in meta.items():
        try:
            checked[name] = json.loads(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"meta[{name!r}] can't be written as JSON: {error}") from None
    return checked
