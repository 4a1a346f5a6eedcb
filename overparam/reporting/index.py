"""The index: studies and their claims as a scoreboard, with filters by theme and verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from upath import UPath

from overparam.reporting.html import asset, render
from overparam.reporting.recorded import Recorded
from overparam.reporting.words import VERDICTS, counted
from overparam.store.files import put
from overparam.study import Declaration


@dataclass(frozen=True)
class IndexClaim:
    """A claim on the index: its verdict in the store, if any, and the recorded full one."""

    title: str
    verdict: str = ""
    recorded: Recorded | None = None

    @property
    def found(self) -> list[str]:
        """The verdicts that there are, for the filter."""
        full = [self.recorded.verdict] if self.recorded else []
        return sorted({*filter(None, [self.verdict]), *full}, key=VERDICTS.index)


@dataclass(frozen=True)
class IndexRow:
    """A study on the index.

    Attributes:
        title: of the paper.
        page: the address of its page, empty where there is none.
        profile: in which the page was made.
        claims: in the order of the study.
        missing: how to install what it needs, empty when nothing is missing.
    """

    study: str
    theme: str
    title: str
    question: str
    claims: tuple[IndexClaim, ...]
    page: str = ""
    profile: str = ""
    missing: str = ""

    @classmethod
    def of(
        cls,
        study: Declaration,
        *,
        verdicts: Sequence[Mapping[str, Any]] = (),
        page: str = "",
        profile: str = "",
        recorded: Mapping[str, Recorded] | None = None,
    ) -> Self:
        """The row of a study.

        Args:
            verdicts: rows of ``ClaimVerdict.to_dict``, of its report.
            page: where its report's page lies.
            recorded: of :func:`recorded_verdicts`.
        """
        found = {row["name"]: row["verdict"] for row in verdicts}
        return cls(
            study=study.name,
            theme=study.theme,
            title=study.paper.title if study.paper else study.name,
            question=study.question,
            claims=tuple(
                IndexClaim(claim.title, found.get(claim.name, ""), (recorded or {}).get(claim.name))
                for claim in study.claims
            ),
            page=page,
            profile=profile,
        )

    @property
    def summary(self) -> str:
        """``2 reproduced, 1 contradicted`` of this store."""
        return counted([claim.verdict for claim in self.claims])


def write_index(rows: Sequence[IndexRow], place: UPath) -> None:
    """Write the index; it links to pages below its own folder by relative addresses."""
    place.parent.mkdir(parents=True, exist_ok=True)
    put(place, index_html(rows, place).encode())


def index_html(rows: Sequence[IndexRow], place: UPath) -> str:
    """The index as HTML."""
    claims = [claim for row in rows for claim in row.claims]
    return render(
        "index.html.jinja",
        scripts=[asset("index.js")],
        rows=[(row, _link(row.page, place)) for row in rows],
        themes=sorted({row.theme for row in rows}),
        verdicts=[v for v in VERDICTS if any(v in claim.found for claim in claims)],
        scores=[
            (theme, *_scores([r for r in rows if r.theme == theme]))
            for theme in sorted({row.theme for row in rows})
        ],
    )


def _link(page: str, place: UPath) -> str:
    """The address of a page as seen from the index."""
    folder = f"{place.parent}/"
    return page.removeprefix(folder)


def _scores(rows: Sequence[IndexRow]) -> tuple[int, int, dict[str, int]]:
    """Studies, claims and how many claims have each verdict; a decided one in the store counts
    before a recorded one."""
    claims = [claim for row in rows for claim in row.claims]
    shown = [_shown(claim) for claim in claims]
    return len(rows), len(claims), {verdict: shown.count(verdict) for verdict in VERDICTS}


def _shown(claim: IndexClaim) -> str:
    if claim.recorded is not None and claim.verdict in ("", "undecided"):
        return claim.recorded.verdict
    return claim.verdict
