"""Vega, Vega-Lite and vega-embed as one script that needs no network."""

from functools import cache
from importlib.metadata import version

from overparam.fingerprint import keep_entry


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
    keep_entry(kept, script)
    return script
