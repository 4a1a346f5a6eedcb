import pytest
from upath import UPath

from overparam.reporting.index import IndexClaim, IndexRow, index_html, write_index
from overparam.reporting.recorded import Recorded


def recorded(verdict, *, stale=False):
    return Recorded(
        "name", "title", verdict, 1.0, 0.5, 1.5, 8, "key", "2026-11-20", "a machine", stale
    )


@pytest.fixture
def rows(whole):
    return [
        IndexRow.of(
            whole.plan.study,
            verdicts=whole.report.verdicts,
            page=whole.report.page,
            profile="quick",
            recorded={"scales": recorded("contradicted", stale=True)},
        ),
        IndexRow(
            "quantum",
            "trust",
            "Quantum </script> gradients",
            "?",
            (IndexClaim("It is private"), IndexClaim("Fast", recorded=recorded("inconclusive"))),
            missing="pip install 'overparam[quantum]'",
        ),
    ]


def test_index_links_pages_and_shows_every_claim(rows, whole, parsed):
    place = whole.store.reports / "index.html"
    write_index(rows, place)
    document = parsed(place.read_text(encoding="utf-8"))
    assert [attrs["href"] for attrs, _ in document.all("a")] == ["gallery/quick.html"]
    assert (place.parent / "gallery/quick.html").is_file()
    for row in rows:
        for claim in row.claims:
            assert claim.title in document.text
    assert "contradicted in full, 2026-11-20 stale" in document.text
    assert "inconclusive in full, 2026-11-20" in document.text
    assert "needs pip install 'overparam[quantum]'" in document.text
    assert "1 reproduced, 1 contradicted, 1 undecided, 2 void" in document.text


def test_claims_can_be_filtered_by_what_was_found(rows, parsed):
    document = parsed(index_html(rows, UPath("/nowhere/index.html")))
    found = [attrs["data-verdicts"] for attrs, _ in document.all("li")]
    assert found == [
        "reproduced",
        "contradicted",
        "void",
        "void",
        "contradicted undecided",
        "",
        "inconclusive",
    ]
    themes = [attrs.get("data-theme") for attrs, _ in document.all("article")]
    assert themes == ["toys", "trust"]
    options = [text for _, text in document.all("option")]
    assert options == [
        "all", "toys", "trust",
        "all", "reproduced", "contradicted", "inconclusive", "undecided", "void",
    ]  # fmt: skip


def test_scores_count_each_claim_once(rows, parsed):
    document = parsed(index_html(rows, UPath("/nowhere/index.html")))
    cells = [text for attrs, text in document.all("td") if attrs.get("class") == "n"]
    assert cells == ["1", "5", "1", "2", "–", "–", "2", "–", "1", "2", *"––1––", "1"]


def test_policy_and_self_containment(rows, parsed):
    html = index_html(rows, UPath("/nowhere/index.html"))
    document = parsed(html)
    assert "unsafe" not in html and len(document.executed()) == 1
    assert not [attrs for _, attrs, _ in document.elements if "src" in attrs]


def test_index_of_nothing(parsed):
    assert "There is no study yet." in parsed(index_html([], UPath("/nowhere/i.html"))).text
