"""The page: escaping, its content security policy, and what it shows of whole and broken runs."""

import base64
import hashlib
import json
import re
import shlex
from dataclasses import replace

import pytest

from overparam.reporting import html as pages
from overparam.reporting import report as reports
from overparam.reporting.page import responsive
from overparam.reporting.recorded import Recorded
from overparam.store import Store
from overparam.studies import load

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=hacked=1>\"']]>&amp;"


def policy_of(document):
    (content,) = [
        attrs["content"]
        for attrs, _ in document.all("meta")
        if attrs.get("http-equiv") == "Content-Security-Policy"
    ]
    return dict(rule.split(" ", 1) for rule in content.split("; "))


def source(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("name", ["whole", "broken", "coin"])
def test_policy_names_every_script_and_style_by_its_hash(name, request):
    document = request.getfixturevalue(name).document
    policy = policy_of(document)
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert policy["script-src"].split() == [source(text) for text in document.executed()]
    assert policy["style-src"].split() == [source(text) for _, text in document.all("style")]
    assert "unsafe" not in " ".join(policy.values())


@pytest.mark.parametrize("name", ["whole", "broken", "coin"])
def test_nothing_is_loaded_from_anywhere(name, request):
    document = request.getfixturevalue(name).document
    for tag, attrs, _ in document.elements:
        assert not [attr for attr in attrs if attr.startswith("on") or attr == "style"], tag
        assert "src" not in attrs or (tag == "img" and attrs["src"].startswith("data:image/png"))
        if "href" in attrs and tag != "a":
            assert attrs["href"] == "data:,"
    style = "".join(text for _, text in document.all("style"))
    assert not re.search(r"url\(|@import", style)
    assert not {"iframe", "object", "embed", "base"} & {tag for tag, *_ in document.elements}


def test_links_lead_to_the_paper_alone(whole):
    links = {attrs.get("href") for attrs, _ in whole.document.all("a")}
    assert links == {"https://arxiv.org/abs/2401.00001", None}


def test_hostile_text_is_text(whole):
    document = whole.document
    assert len(document.executed()) == 2
    assert all("hacked" not in text for text in document.executed())
    assert not [attrs for attrs, _ in document.all("img") if attrs.get("src") == "x"]
    assert not document.all("i") and not document.all("b")
    for shown in (
        "On Galleries <i>and</i> Their Walls",
        "Rotation <b onclick='hacked=1'>beats</b> \"pruning\"",
        "Are </script><script>window.hacked=2</script> and ]]>&amp; text? Été, 深度, σ²≤½?",
        "Ø. Ünïcode, 王小明",
        'a text with <b>markup</b> & "quotes" ]]>',
        HOSTILE,
        "run-<1>",
        "overparam run study --set 'note=<b>'",
    ):
        assert shown in document.text, shown


def test_chart_data_survives_escaping(whole):
    blocks = [json.loads(text) for attrs, text in whole.document.all("script") if "type" in attrs]
    names = {
        row.get("series")
        for spec in blocks
        for rows in spec.get("datasets", {}).values()
        for row in rows
    }
    assert HOSTILE in names
    assert "<" not in "".join(
        text for attrs, text in whole.document.all("script") if "type" in attrs
    )


def test_every_figure_has_a_picture_and_a_chart_when_it_fits(whole):
    document = whole.document
    pictures = [attrs["src"].partition(",")[2] for attrs, _ in document.all("img")]
    assert len(pictures) == len(whole.plan.study.figures) == 7
    assert all(base64.b64decode(p).startswith(b"\x89PNG\r\n") for p in pictures)
    assert len([1 for attrs, _ in document.all("script") if attrs.get("class") == "spec"]) == 6
    assert "its data have 5,001 rows, and 5,000 fit a page" in document.text


def test_every_verdict_is_told_with_numbers_and_meaning(whole):
    text = whole.document.text
    assert {row["verdict"] for row in whole.report.verdicts} >= {
        "reproduced",
        "contradicted",
        "void",
        "undecided",
    }
    for row in whole.report.verdicts:
        assert row["reason"] in text
    assert "Of 5 claims, 1 is reproduced" in text
    assert "It is decided at the full profile." in text
    assert "The whole interval lies outside the allowed region." in text
    assert "≥ 0.1" in text and "−0.01 to 0.01" in text


def test_every_cell_is_listed_with_its_key(whole):
    text = whole.document.text
    for cell in whole.plan.cells:
        assert whole.plan.key(cell) in text
    assert "method=rotated · seed=3" in text


def test_broken_run_says_what_failed_and_shows_the_rest(broken):
    text = broken.document.text
    assert "This run is not whole" in text
    assert "10 cells failed or skipped" in text
    assert f"RuntimeError: told to fail {HOSTILE}" in text
    assert "5 failed, 10 completed" in text and "5 skipped, 10 completed" in text
    assert "overridden; quick has false" in text
    assert len(broken.document.all("img")) == 7


def test_second_report_is_cached_and_draws_nothing(whole, page_maker):
    again = page_maker(whole.plan.study, whole.store)
    assert again.report.record.state == "cached"
    assert again.report.verdicts == whole.report.verdicts
    assert "cached" in again.document.text


def test_full_verdict_is_shown_where_quick_cannot_decide(gallery, whole, monkeypatch, page_maker):
    full = Recorded(
        "scales",
        "It scales",
        "reproduced",
        92.0,
        90.0,
        94.0,
        8,
        "key",
        "2026-11-20",
        "Linux x86_64, 2 cores",
    )
    monkeypatch.setattr(reports, "recorded_verdicts", lambda study: {"scales": full})
    text = page_maker(gallery, whole.store).document.text
    assert "reproduced in full, 2026-11-20" in text
    assert "effect 92, 90 to 94, n = 8, on Linux x86_64, 2 cores." in text
    assert "“It scales”, recorded as reproduced in full" in text
    assert "stale" not in text
    old = replace(full, stale=True)
    monkeypatch.setattr(reports, "recorded_verdicts", lambda study: {"scales": old})
    assert "stale" in page_maker(gallery, whole.store).document.text


BARE = """
import pandas as pd
from overparam.study import Paper, Study, StudyConfig

class Config(StudyConfig):
    pass

study = Study("bare", theme="toys", config=Config, question="Nothing?", paper={paper})

@study.generate
def numbers(*, seed):
    return pd.DataFrame({{"x": [seed]}})
"""


@pytest.mark.parametrize(
    ("paper", "heading"),
    [("None", "bare"), ('Paper(title="Untitled", authors="", year=1900)', "Untitled")],
)
def test_study_without_claims_figures_or_links(paper, heading, tmp_path, page_maker):
    file = tmp_path / "bare.py"
    file.write_text(BARE.format(paper=paper))
    document = page_maker(load(str(file)), Store.open(tmp_path / "store")).document
    assert "This study makes no claims." in document.text
    assert document.executed() == [] and document.all("a") == []
    assert policy_of(document)["script-src"] == "'none'"
    assert [text.strip() for _, text in document.all("h1")] == [heading]


def test_script_that_would_end_its_element_is_defused():
    code = 'x = "</script><!-- <script>";\r\ny = 1;\r'
    page = pages.render(
        "index.html.jinja", scripts=[code], rows=[], themes=[], verdicts=[], scores=[]
    )
    assert page.count("</script>") == 1 and "\r" not in page
    assert source('x = "\\x3c/script>\\x3c!-- \\x3cscript>";\ny = 1;\n') in page.replace(
        "&#39;", "'"
    )


@pytest.mark.parametrize(
    ("spec", "wide"),
    [
        ({"mark": "bar"}, True),
        ({"layer": []}, True),
        ({"mark": "bar", "width": 100}, False),
        ({"hconcat": []}, False),
        ({"mark": "bar", "encoding": {"row": {}}}, False),
        ({"facet": {}, "spec": {}}, False),
    ],
)
def test_single_views_fill_the_page(spec, wide):
    assert (responsive(spec).get("width") == "container") is wide
    assert "width" in spec or "width" not in responsive(spec) or wide


def test_command_is_shown_verbatim(whole):
    codes = [text for _, text in whole.document.all("code")]
    assert "overparam run study --set 'note=<b>'" in codes
    assert shlex.split(codes[codes.index("overparam run study --set 'note=<b>'")])[-1] == "note=<b>"
