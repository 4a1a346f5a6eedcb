"""Vega, Vega-Lite and vega-embed as one script that needs no network."""

import os
import tempfile
from functools import cache
from importlib.metadata import version
from pathlib import Path


@cache
def vega_bundle() -> str:
    """JavaScript that defines ``window.vegaEmbed``, the interpreter of its ``ast`` mode included.

    vl-convert bundles the libraries that it carries, in some seconds; the result is kept on the
    user's machine under vl-convert's version.
    """
    from platformdirs import user_cache_path

    kept = user_cache_path("overparam") / "vega" / f"vl-convert-{version('vl-convert-python')}.js"
    try:
        return kept.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        pass  # none yet
    import vl_convert

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    _keep(kept, script)
    return script


def _keep(place: Path, text: str) -> None:
    """Write the file at once or not at all; a folder that can't be written is done without."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=place.parent, suffix=".tmp")
    except OSError:
        return
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(temporary, place)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
