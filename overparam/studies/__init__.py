"""The studies: one file per paper, by theme; :func:`load` finds one by name."""

from overparam.studies.catalogue import Entry, entries, find, load, load_from

__all__ = ["Entry", "entries", "find", "load", "load_from"]
