"""What code a function reaches, told from its source alone."""

from overparam.fingerprint._cache import default_cache_folder, keep_entry
from overparam.fingerprint._errors import FingerprintError
from overparam.fingerprint._lint import Problem, lint
from overparam.fingerprint._parse import parse
from overparam.fingerprint._tree import Fingerprint, SourceTree, changed_parts

__all__ = [
    "Fingerprint",
    "FingerprintError",
    "Problem",
    "SourceTree",
    "changed_parts",
    "default_cache_folder",
    "keep_entry",
    "lint",
    "parse",
]
