"""Pages of the gallery study, made once: a whole run and one in which a method failed."""

from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import pytest

from overparam.reporting import Report, make_report
from overparam.store import Store
from overparam.studies import load
from overparam.study import (
    Plan,
    StepFailed,
    StepRecord,
    Study,
    cached_records,
    make_plan,
    record_of,
    run_unit,
)

GALLERY = Path(__file__).with_name("gallery.py")
COIN = Path(__file__).parents[1] / "toys" / "coin.py"


VOID = {"img", "input", "link", "meta"}


class Document(HTMLParser):
    """The elements of a page with their attributes and own text, as a browser would find them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._shown: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, f"never closed: {self._open[-1]}"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))
        if tag not in VOID:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        if self._open:
            self._open[-1][2].append(data)
            if self._open[-1][0] not in ("script", "style"):
                self._shown.append(data)

    def all(self, tag):
        """Attributes and own text of every element of a kind."""
        return [(attrs, "".join(text)) for name, attrs, text in self.elements if name == tag]

    @property
    def text(self) -> str:
        """What is shown: the text of everything but scripts and styles, white space collapsed."""
        return " ".join("".join(self._shown).split())

    def executed(self) -> list[str]:
        """The scripts that a browser runs."""
        return [text for attrs, text in self.all("script") if "type" not in attrs]


@dataclass(frozen=True)
class Made:
    """A page with what it was made from."""

    plan: Plan
    report: Report
    html: str
    store: Store

    @property
    def document(self) -> Document:
        return Document(self.html)


def make_page(study: Study, store: Store, **overrides) -> Made:
    """Run a study as a flow does, going on after a failure, and make its page."""
    plan = make_plan(study, "quick", overrides)
    records: list[StepRecord] = []
    for unit in plan.units:
        if not all(map(plan.readable, unit.cells)):
            found = _lost(plan, unit, store, "skipped", "")
        else:
            try:
                found = cached_records(plan, unit, store) or run_unit(plan, unit, store)
            except StepFailed as error:
                found = _lost(plan, unit, store, "failed", str(error))
        records += found
    command = "overparam run study --set 'note=<b>'"
    report = make_report(plan, store, records, command=command, flow_run_id="run-<1>")
    return Made(plan, report, Path(report.page).read_text(encoding="utf-8"), store)


def _lost(plan, unit, store, state, error):
    for cell in unit.cells:
        plan.lose(cell)
    return [record_of(plan, cell, store, state, None, error) for cell in unit.cells]


@pytest.fixture(scope="session")
def gallery() -> Study:
    return load(str(GALLERY))


@pytest.fixture(scope="session")
def whole(gallery, tmp_path_factory) -> Made:
    return make_page(gallery, Store.open(tmp_path_factory.mktemp("whole")))


@pytest.fixture(scope="session")
def broken(gallery, tmp_path_factory) -> Made:
    return make_page(gallery, Store.open(tmp_path_factory.mktemp("broken")), broken=True)


@pytest.fixture(scope="session")
def coin(tmp_path_factory) -> Made:
    return make_page(load(str(COIN)), Store.open(tmp_path_factory.mktemp("coin")))


@pytest.fixture(scope="session")
def page_maker():
    return make_page


@pytest.fixture(scope="session")
def parsed():
    return Document
