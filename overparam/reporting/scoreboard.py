"""README's scoreboard: the recorded full verdicts as a Markdown table between two markers."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from overparam.reporting.recorded import verdicts_file
from overparam.reporting.words import SYMBOLS, VERDICTS

START = "<!-- scoreboard: written by overparam verdicts, do not edit -->"
END = "<!-- end of scoreboard -->"


def scoreboard_markdown(
    recorded: Mapping[str, Mapping[str, Mapping[str, Any]]], themes: Mapping[str, str]
) -> str:
    """A row per study, by theme and name, with how many of its claims have each verdict.

    Args:
        recorded: the content of ``data/verdicts.json``: per study and claim, its recorded row.
        themes: the theme of each study; a study that is not in it any more is left out.
    """
    lines = [
        f"| study | theme | claims | {' | '.join(f'{SYMBOLS[v]} {v}' for v in VERDICTS)} |",
        f"| --- | --- |{' ---: |' * (1 + len(VERDICTS))}",
    ]
    for study in sorted(recorded.keys() & themes.keys(), key=lambda name: (themes[name], name)):
        found = [row["verdict"] for row in recorded[study].values()]
        counts = [str(found.count(verdict) or "") for verdict in VERDICTS]
        lines.append(f"| `{study}` | {themes[study]} | {len(found)} | {' | '.join(counts)} |")
    return "\n".join(lines) if len(lines) > 2 else "No full profile has been recorded yet."


def update_readme(path: Path, themes: Mapping[str, str]) -> bool:
    """Write the scoreboard of ``data/verdicts.json`` between the markers of a Markdown file.

    Returns:
        Whether the file changed.

    Raises:
        ValueError: the file does not have each marker once, in order.
    """
    text = path.read_text(encoding="utf-8")
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end or START in rest or END in after:
        raise ValueError(f"{path} must have the lines {START!r} and {END!r} once each, in order")
    file = verdicts_file()
    recorded = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    updated = f"{before}{START}\n{scoreboard_markdown(recorded, themes)}\n{END}{after}"
    if updated != text:
        path.write_text(updated, encoding="utf-8")
    return updated != text
