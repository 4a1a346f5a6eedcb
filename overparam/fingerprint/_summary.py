"""What one file defines, uses and does when it is imported: all that later steps know of it."""

from dataclasses import asdict, dataclass, field
from typing import Any

from overparam.fingerprint._effects import Effect

TOP = "<top>"
"""Label of what runs when a module is imported and belongs to no name."""


@dataclass(slots=True)
class Decorator:
    """A decorator of a top-level definition, kept apart: those of a study do not count."""

    hash: str
    code: dict[str, int]
    effects: list[Effect]


@dataclass(slots=True)
class Unit:
    """A top-level statement that counts as a whole.

    ``kind`` is ``function``, ``class``, ``value`` (an assignment) or ``block`` (anything else);
    ``fixed`` says that it assigns literals that nobody can change in place.
    """

    label: str
    kind: str
    line: int
    hash: str = ""
    code: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    imports: list[str] = field(default_factory=list)
    mutates: list[tuple[str, bool]] = field(default_factory=list)
    passes: list[tuple[str, str]] = field(default_factory=list)
    decorators: list[Decorator] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    fixed: bool = False
    made_by: list[str] = field(default_factory=list)
    bases: list[str] = field(default_factory=list)
    metaclass: list[str] = field(default_factory=list)
    subclass_hook: bool = False
    class_state: bool = False


@dataclass(slots=True)
class Summary:
    """A file: its units in source order, its names, and what it imports when it is imported.

    ``bindings`` maps a name to unit numbers and to imports ``(module, attribute)``; ``exported`` is
    ``__all__``, or None where there is none or it is not a literal (``exports_unknown``).
    """

    units: list[Unit] = field(default_factory=list)
    bindings: dict[str, list[int | tuple[str, str]]] = field(default_factory=dict)
    imports: list[str] = field(default_factory=list)
    stars: list[str] = field(default_factory=list)
    exported: list[str] | None = None
    exports_unknown: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Summary":
        """Rebuild a summary; KeyError or TypeError if ``stored`` is none."""
        units = []
        for unit in stored["units"]:
            unit["decorators"] = [
                Decorator(d["hash"], d["code"], [Effect(**e) for e in d["effects"]])
                for d in unit["decorators"]
            ]
            unit["effects"] = [Effect(**effect) for effect in unit["effects"]]
            units.append(Unit(**unit))
        return cls(**{**stored, "units": units})
