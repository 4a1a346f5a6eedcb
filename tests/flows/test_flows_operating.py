"""Operating: records of runs, comparisons, wishes (--from, --only), failures on record, forms."""

import json
from pathlib import Path

import pytest

from flows.compare import compare
from flows.deployments import deployments, form
from flows.history import changed_verdicts, find_record, previous, record_run, records
from flows.study import study
from flows.wishes import Wish
from overparam.errors import BadInput
from overparam.reporting import comparison_page
from overparam.store import (
    ArtifactRef,
    Store,
    forget_failure,
    known_failure,
    record_failure,
)
from overparam.studies import load

COIN = str(Path(__file__).parent.parent / "toys" / "coin.py")
REF = ArtifactRef("coin", "flipped", "0123456789abcdef")
VERSIONS = {"torch": "2.13.0"}


def run(verdict="reproduced", effect=0.4, seeds=5, key="aa"):
    part = {"label": "", "effect": effect, "low": effect - 0.1, "high": effect + 0.1, "n": seeds}
    return {
        "study": "coin",
        "profile": "quick",
        "config": {"seeds": seeds, "flips": 50},
        "steps": [{"step": "flipped", "cell": {"seed": 0}, "key": key, "seconds": 0.25}],
        "verdicts": [
            {"name": "loaded_shows", "claim": "More heads", "verdict": verdict, "parts": [part]}
        ],
    }


def test_records_are_found_by_the_beginning_of_their_id(store: Store):
    first = record_run(store, "aaaa1111", COIN, {}, run())
    second = record_run(store, "aaaa2222", COIN, {"seeds": 3}, run(seeds=3))
    assert [record.id for record in records(store)] == [second.id, first.id]
    assert find_record(store, "aaaa1") == first
    with pytest.raises(BadInput, match="several runs 'aaaa'"):
        find_record(store, "aaaa")
    with pytest.raises(BadInput, match=r"no run 'bbbb'.*newest: aaaa2222"):
        find_record(store, "bbbb")


@pytest.mark.parametrize("planted", [b"", b"{", b"[]", b'{"id": 3}', b"\x80\x04N."])
def test_a_file_that_is_no_record_is_passed_over(store: Store, planted: bytes):
    record = record_run(store, "aaaa1111", COIN, {}, run())
    (store.root / "runs" / "broken.json").write_bytes(planted)
    assert list(records(store)) == [record]


def test_a_verdict_that_changed_is_told_against_the_run_before_of_the_same_settings(store: Store):
    first = record_run(store, "aaaa1111", COIN, {}, run("reproduced"))
    record_run(store, "aaaa2222", COIN, {"seeds": 3}, run("undecided", seeds=3))
    last = record_run(store, "aaaa3333", COIN, {}, run("contradicted"))
    assert previous(store, last) == first and previous(store, first) is None
    (change,) = changed_verdicts(first, last)
    assert str(change) == "coin: More heads: reproduced → contradicted"
    assert changed_verdicts(None, last) == [] and changed_verdicts(first, first) == []


def test_comparison_tells_what_differs_and_counts_effects_within_noise_as_the_same(store: Store):
    left = record_run(store, "aaaa1111", COIN, {}, run())
    near = record_run(store, "aaaa2222", COIN, {}, run(effect=0.45, seeds=6, key="bb"))
    far = record_run(store, "aaaa3333", COIN, {}, run(effect=0.9))
    found = compare(left, near)
    assert [row.what for row in found.rows if not row.same] == ["seeds", "flipped · seed=0"]
    (effect,) = compare(left, far).of("effect")
    assert not effect.same and effect.right["effect"] == 0.9
    assert json.loads(json.dumps(found.to_dict()))["left"] == {"id": "aaaa1111", "study": "coin"}
    page = comparison_page(found.to_dict())
    assert "flipped · seed=0" in page and "unsafe" not in page


def test_comparison_page_escapes(store: Store):
    left = record_run(store, "aaaa1111", COIN, {}, run() | {"config": {"x": "<script>alert(1)"}})
    page = comparison_page(compare(left, left).to_dict())
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page


def plan():
    return load(COIN).plan(seeds=2)


def named(cells):
    return {(cell.step.name, *cell.values.values()) for cell in cells}


def test_from_a_step_forces_it_and_all_below_it():
    forced = named(Wish(from_step="shortened").forced(plan()))
    assert forced == {
        ("shares",),
        *(("shortened", c, s) for c in ("loaded", "fair") for s in (0, 1)),
    }
    assert Wish().forced(plan()) == frozenset()
    assert len(Wish(fresh=True).forced(plan())) == len(plan().cells)


def test_only_leaves_out_other_cells_but_not_what_is_not_spread():
    wish = Wish(from_step="flipped", only={"seed": "1", "coin": "fair"})
    wish.check(plan())
    assert named(wish.forced(plan())) == {
        ("flipped", "fair", 1),
        ("shortened", "fair", 1),
        ("shares",),
    }


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (Wish(from_step="shrtened"), "no step 'shrtened'.*shortened"),
        (Wish(only={"sed": 1}), "no step is spread over 'sed'.*seed"),
        (Wish(only={"seed": 7}), "no cell has seed=7.*0, 1"),
    ],
)
def test_a_wish_for_what_there_is_not_says_what_there_is(wish: Wish, message: str):
    with pytest.raises(BadInput, match=message):
        wish.check(plan())


def test_a_failure_counts_while_the_libraries_are_the_same(store: Store):
    assert known_failure(store, REF, VERSIONS) is None
    record_failure(store, REF, "it diverged", VERSIONS)
    assert known_failure(store, REF, VERSIONS) == "it diverged"
    assert known_failure(store, REF, {"torch": "2.14.0"}) is None
    forget_failure(store, REF)
    forget_failure(store, REF)
    assert known_failure(store, REF, VERSIONS) is None


@pytest.mark.parametrize("planted", [b"", b"{}", b"[1]", b"\x80\x04cos\nsystem\n"])
def test_a_planted_failure_record_is_no_failure(store: Store, planted: bytes):
    record_failure(store, REF, "it diverged", VERSIONS)
    place = store.root / "failures" / "coin" / "flipped" / f"{REF.key}.json"
    place.write_bytes(planted)
    assert known_failure(store, REF, VERSIONS) is None


def test_the_form_of_a_study_shows_its_fields_with_bounds_and_sets_no_default():
    shown = form(study, "parameter-sharing").model_dump()
    assert shown["properties"]["study"]["enum"] == ["parameter-sharing"]
    assert shown["properties"]["profile"]["enum"] == ["quick", "full"]
    assert shown["properties"]["from_step"]["anyOf"][0]["enum"][:2] == ["splits", "dense"]
    fields = shown["properties"]["settings"]["properties"]
    quick, full = (load("parameter-sharing").config.for_profile(p) for p in ("quick", "full"))
    assert fields["epochs"]["minimum"] == 1
    told = f"(default {quick.epochs}, in full {full.epochs})"
    assert quick.epochs != full.epochs and fields["epochs"]["description"].endswith(told)
    assert "rps_stable" in fields["methods"]["items"]["enum"]
    assert not [name for name, field in fields.items() if "default" in field]
    assert "$defs" not in json.dumps(shown)


def test_deployments_cover_every_study_are_scheduled_and_never_overlap():
    made = {d.name: d for d in deployments(store="somewhere", workers=2, nightly="1 2 * * *")}
    assert {"nightly", "weekly", "parameter-sharing"} <= made.keys()
    assert made["nightly"].schedules[0].schedule.cron == "1 2 * * *"
    assert made["nightly"].parameters["profile"] == "quick"
    assert made["weekly"].parameters["profile"] == "full"
    assert not made["parameter-sharing"].schedules
    assert {d.concurrency_limit for d in made.values()} == {1}
    assert {d.parameters["store"] for d in made.values()} == {"somewhere"}
    assert made["parameter-sharing"].tags == ["compression"]


def test_the_users_own_model_has_a_form_with_the_fields_of_its_config():
    (made,) = deployments(["compress"], store=None, workers=1)[2:]
    assert made.name == "compress" and made.entrypoint.endswith("compress.compress")
    shown = made._parameter_openapi_schema.model_dump()["properties"]
    assert "study" not in shown
    fields = shown["settings"]["properties"]
    assert {"model", "data", "methods", "ratios", "budget"} <= fields.keys()
    assert "dense parameters / non-zeros kept" in fields["ratios"]["description"]


def test_only_the_studies_that_are_named_get_a_form_and_a_file_is_one():
    made = {d.name: d for d in deployments([COIN], store=None, workers=1, nightly="", weekly="")}
    assert not made["nightly"].schedules and "parameter-sharing" not in made
    assert made["coin"].parameters["study"] == COIN
    shown = made["coin"]._parameter_openapi_schema.model_dump()["properties"]
    assert shown["study"]["enum"] == [COIN]
    assert "(default 50, in full 500)" in shown["settings"]["properties"]["flips"]["description"]


def test_deployment_file_names_flows_that_exist():
    import importlib

    import yaml

    file = Path(__file__).parents[2] / "prefect.yaml"
    for deployment in yaml.safe_load(file.read_text())["deployments"]:
        path, _, name = deployment["entrypoint"].partition(":")
        flow = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
        assert set(deployment["parameters"]) <= set(flow.parameters.properties)
        assert deployment["concurrency_limit"]["limit"] == 1
