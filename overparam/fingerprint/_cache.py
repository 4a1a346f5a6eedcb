"""Summaries kept on disk by the content of the file they describe."""

import functools
import hashlib
import json
import os
import tempfile
from pathlib import Path

from overparam.fingerprint._errors import FingerprintError
from overparam.fingerprint._summarise import summarise
from overparam.fingerprint._summary import Summary


@functools.cache
def _format_version() -> str:
    """Name the form of summaries by the code that makes them."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


def default_cache_folder() -> Path:
    """Return the folder of the user's machine where summaries are kept."""
    from platformdirs import user_cache_path

    return user_cache_path("overparam") / "fingerprint"


class SummaryCache:
    """Summaries of files, computed once per content.

    Several processes may share ``folder``: entries are named by content and replaced atomically.
    An entry that cannot be read is computed again; a folder that cannot be written is done
    without. A file's time is never trusted.

    Args:
        folder: where to keep them, None to keep none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else Path(folder) / _format_version()

    def summary(self, file: Path, package: str) -> Summary:
        """Summarise ``file``, whose relative imports start from ``package``.

        Raises:
            FingerprintError: the file cannot be read or is not valid Python.
        """
        try:
            source = file.read_bytes()
        except OSError as error:
            raise FingerprintError(f"{file}: cannot be read: {error}") from error
        if self._folder is None:
            return summarise(source, package=package, file=str(file))
        name = hashlib.sha256(package.encode() + b"\0" + source).hexdigest()
        entry = self._folder / name[:2] / f"{name}.json"
        try:
            return Summary.from_json(json.loads(entry.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # none yet, or damaged
        summary = summarise(source, package=package, file=str(file))
        keep_entry(entry, json.dumps(summary.to_json(), separators=(",", ":")))
        return summary


def keep_entry(entry: Path, text: str) -> None:
    """Write an entry of a cache, whole or not at all; where that can't be done, there is none."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=entry.parent, suffix=".tmp")
    except OSError:
        return
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(temporary, entry)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
