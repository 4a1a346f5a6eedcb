"""Verdicts in words: symbols, numbers and sentences, the same on pages and in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

VERDICTS = ("reproduced", "contradicted", "inconclusive", "undecided", "void")

SYMBOLS = {
    "reproduced": "✓",
    "contradicted": "✗",
    "inconclusive": "≈",
    "undecided": "?",
    "void": "∅",
}

MEANINGS = {
    "reproduced": "The whole confidence interval of the effect lies in the region that the "
    "paper's statement allows, and the control, a method known not to have the property, failed.",
    "contradicted": "The whole interval lies outside the allowed region.",
    "inconclusive": "The interval straddles an end of the region, or the data define no effect: "
    "these runs speak neither for the claim nor against it.",
    "undecided": "Not asked yet: fewer than three repetitions, or a profile smaller than the one "
    "at which the claim can be decided.",
    "void": "The control passes as well as the arm does, so that the test can't tell whether the "
    "claim is true.",
}


def number(value: float | None) -> str:
    """Three significant digits; a dash for what has no value.

    >>> number(-0.01234), number(2000.0), number(3e-7)
    ('−0.0123', '2,000', '3e−7')
    """
    if value is None:
        return "–"
    rounded = float(f"{value:.3g}")
    if 1000 <= abs(rounded) < 1e6:
        return f"{rounded:,.0f}".replace("-", "−")
    text = f"{rounded:.3g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    return text.replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """``0.1 to 0.4``; an end that is ``None`` is unbounded."""
    return f"{'−∞' if low is None else number(low)} to {'∞' if high is None else number(high)}"


def region(ends: Sequence[float | None]) -> str:
    """The allowed region: ``≥ 0.1``, ``≤ 2``, ``0.1 to 2``."""
    low, high = ends
    if low is not None and high is not None:
        return f"{number(low)} to {number(high)}"
    return f"≥ {number(low)}" if low is not None else f"≤ {number(high)}"


def seconds(value: float) -> str:
    """A duration with the unit that suits it."""
    if value < 1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min"


def size(count: int) -> str:
    """Bytes with the unit that suits them (powers of 1000)."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def plural(count: int, noun: str) -> str:
    """``1 claim``, ``2 claims``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(parts[:-1]), *parts[-1:])))


def counted(verdicts: Sequence[str]) -> str:
    """``2 reproduced, 1 contradicted``, in the order of :data:`VERDICTS`."""
    counts = [(verdicts.count(verdict), verdict) for verdict in VERDICTS]
    return ", ".join(f"{count} {verdict}" for count, verdict in counts if count)


def claim_sentence(row: Mapping[str, Any]) -> str:
    """One claim's verdict with its numbers, from a row of ``ClaimVerdict.to_dict``."""
    control = row["control"]
    return (
        f"{row['claim']}: {row['verdict']} (effect {number(row['effect'])}, "
        f"{interval(row['low'], row['high'])}, allowed {region(row['region'])}; "
        f"control {control['name']}: {number(control['effect'])})."
    )


def answer(
    verdicts: Sequence[Mapping[str, Any]],
    titles: Sequence[str],
    profile: str,
    recorded: Mapping[str, str],
) -> str:
    """The answer of a study in one sentence.

    Args:
        verdicts: rows of ``ClaimVerdict.to_dict``.
        titles: of all claims of the study, the ones that could not be judged included.
        recorded: the recorded full verdict, by the name of the claim.
    """
    if not titles:
        return "This study makes no claims."
    found = []
    for verdict in VERDICTS:
        rows = [row for row in verdicts if row["verdict"] == verdict]
        if not rows:
            continue
        where = f" in the {profile} profile" if verdict == "undecided" else ""
        names = [_named(row, recorded if verdict == "undecided" else {}) for row in rows]
        found.append(f"{_are(len(rows))} {verdict}{where} ({listed(names)})")
    judged = {row["claim"] for row in verdicts}
    missing = [f"“{title}”" for title in titles if title not in judged]
    if missing:
        found.append(
            f"{len(missing)} could not be judged, as a step is missing ({listed(missing)})"
        )
    return f"Of {plural(len(titles), 'claim')}, {'; '.join(found)}."


def _are(count: int) -> str:
    return f"{count} is" if count == 1 else f"{count} are"


def _named(row: Mapping[str, Any], recorded: Mapping[str, str]) -> str:
    full = recorded.get(row["name"])
    return f"“{row['claim']}”" + (f", recorded as {full} in full" if full else "")
