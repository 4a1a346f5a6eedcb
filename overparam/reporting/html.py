"""Self-contained pages: Jinja with autoescape, and a content security policy of hashes.

Nothing on a page is loaded from anywhere, and no script or style runs that is not written into it
here: the policy names each by its SHA-256.
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from overparam.reporting import words


def render(template: str, *, scripts: Sequence[str], **values: Any) -> str:
    """Fill a template; ``style`` and ``policy`` come from here.

    Args:
        template: a file in ``overparam/reporting/templates``.
        scripts: JavaScript that the page runs, in this order.
        values: what the template shows; everything is escaped.
    """
    style = asset("style.css")
    codes = [_embeddable(script) for script in scripts]
    return (
        _environment()
        .get_template(template)
        .render(
            policy=content_security_policy(scripts=codes, styles=[style]),
            style=Markup(style),
            scripts=[Markup(code) for code in codes],
            **values,
        )
    )


@cache
def asset(name: str) -> str:
    """The text of a style or script among the templates."""
    return (files("overparam.reporting") / "templates" / name).read_text(encoding="utf-8")


def content_security_policy(*, scripts: Sequence[str], styles: Sequence[str]) -> str:
    """A policy under which only these inline scripts and styles, and ``data:`` images, load."""
    rules = {
        "default-src": ["'none'"],
        "script-src": [_source(script) for script in scripts] or ["'none'"],
        "style-src": [_source(style) for style in styles] or ["'none'"],
        "img-src": ["data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    return "; ".join(" ".join([name, *sources]) for name, sources in rules.items())


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _embeddable(script: str) -> str:
    """A script as it may stand in HTML: nothing in it ends or nests a script element.

    Browsers hash what the parser hands them, where every line ends with a line feed.
    """
    script = script.replace("\r\n", "\n").replace("\r", "\n")
    for sequence in ("</script", "<script", "<!--"):
        script = script.replace(sequence, f"\\x3c{sequence[1:]}")
    return script


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("overparam.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    environment.filters |= {
        "number": words.number,
        "seconds": words.seconds,
        "size": words.size,
        "region": words.region,
    }
    environment.globals |= {
        "SYMBOLS": words.SYMBOLS,
        "MEANINGS": words.MEANINGS,
        "VERDICTS": words.VERDICTS,
        "interval": words.interval,
        "plural": words.plural,
    }
    return environment
