"""What can go wrong with a store."""

from overparam.store.names import ArtifactRef


class StoreError(RuntimeError):
    """The store can't do what was asked; the message names place, problem and remedy."""


class DamagedArtifact(StoreError):
    """A stored artifact isn't what its manifest says.

    Attributes:
        ref: the artifact.
        table: the damaged table, or None when it is the manifest.
        why: what is wrong with it.
    """

    def __init__(self, ref: ArtifactRef, table: str | None, why: str) -> None:
        super().__init__(
            ref, table, why
        )  # the arguments themselves, so that the error survives a process boundary
        self.ref = ref
        self.table = table
        self.why = why

    def __str__(self) -> str:
        part = "its manifest" if self.table is None else f"table {self.table!r}"
        return f"artifact {self.ref} is damaged: {part}: {self.why}"
