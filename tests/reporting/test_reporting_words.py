import pytest

from overparam.reporting.words import (
    MEANINGS,
    SYMBOLS,
    VERDICTS,
    answer,
    claim_sentence,
    counted,
    interval,
    listed,
    number,
    region,
    seconds,
    size,
)


def row(name, verdict):
    return {"name": name, "claim": name.title(), "verdict": verdict}


def test_every_verdict_has_a_symbol_of_its_own_and_a_meaning():
    assert set(SYMBOLS) == set(MEANINGS) == set(VERDICTS)
    assert len(set(SYMBOLS.values())) == len(VERDICTS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (1.0, "1"),
        (-0.012345, "−0.0123"),
        (999.6, "1,000"),
        (123456.0, "123,000"),
        (-2.5e7, "−2.5e7"),
        (3e-7, "3e−7"),
        (1e-12, "1e−12"),
    ],
)
def test_number(value, text):
    assert number(value) == text


def test_intervals_and_regions():
    assert interval(0.1, 0.25) == "0.1 to 0.25"
    assert interval(None, None) == "−∞ to ∞"
    assert [region(ends) for ends in ((0.1, None), (None, 2), (-1, 1))] == [
        "≥ 0.1",
        "≤ 2",
        "−1 to 1",
    ]


def test_units():
    assert [seconds(v) for v in (0.0123, 1.25, 600)] == ["12 ms", "1.2 s", "10.0 min"]
    assert [size(v) for v in (0, 999, 1500, 2_500_000, 3e9)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.5 MB",
        "3.0 GB",
    ]


def test_lists_and_counts():
    assert [listed(list(parts)) for parts in ("", "a", "ab", "abc")] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
    assert counted(["void", "reproduced", "", "reproduced"]) == "2 reproduced, 1 void"


def test_answer_counts_and_names_the_claims():
    rows = [row("one", "reproduced"), row("two", "contradicted"), row("three", "reproduced")]
    assert answer(rows, ["One", "Two", "Three"], "quick", {}) == (
        "Of 3 claims, 2 are reproduced (“One” and “Three”); 1 is contradicted (“Two”)."
    )


def test_answer_tells_of_what_was_not_judged_and_of_recorded_verdicts():
    rows = [row("one", "undecided"), row("two", "reproduced")]
    recorded = {"one": "inconclusive", "two": "contradicted"}
    assert answer(rows, ["One", "Two", "Lost"], "quick", recorded) == (
        "Of 3 claims, 1 is reproduced (“Two”); 1 is undecided in the quick profile (“One”, "
        "recorded as inconclusive in full); 1 could not be judged, as a step is missing (“Lost”)."
    )


def test_answer_of_a_study_without_claims():
    assert answer([], [], "quick", {}) == "This study makes no claims."


def test_claim_sentence():
    control = {"name": "dense", "effect": None}
    numbers = {"effect": 0.2, "low": 0.1, "high": None, "region": [0.05, None]}
    assert claim_sentence({**row("one", "reproduced"), **numbers, "control": control}) == (
        "One: reproduced (effect 0.2, 0.1 to ∞, allowed ≥ 0.05; control dense: –)."
    )
