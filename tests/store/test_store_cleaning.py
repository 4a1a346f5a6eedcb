"""What cleaning removes, and what it never does."""

import os
import time
import uuid
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest

from overparam.store import ArtifactRef, Checkpoint, Removal, Store, apply_clean, plan_clean

FRAME = pd.DataFrame({"x": [1.0]})


def ref(study: str, number: int) -> ArtifactRef:
    return ArtifactRef(study, "train", f"{number:08x}")


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    place = tmp_path if request.param == "disk" else f"memory://{uuid.uuid4().hex}/root"
    store = Store.open(place)
    for number in range(4):
        cell = {"seed": number % 2}
        store.write(ref("one", number), {"runs": FRAME + number}, meta={"cell": cell})
    store.write(ref("two", 9), {"runs": FRAME}, meta={})
    return store


def removed(store: Store, removals: list[Removal]) -> set[str]:
    prefix = str(store.root)
    return {str(removal.path).removeprefix(prefix).strip("/") for removal in removals}


def test_without_a_wish_only_orphans_go(store: Store) -> None:
    assert plan_clean(store) == []
    assert plan_clean(store, older_than=timedelta(days=1)) == []
    assert len(list(store.refs())) == 5


def test_a_study_but_what_is_protected(store: Store) -> None:
    plan = plan_clean(store, study="one", protected={ref("one", 2)})
    assert removed(store, plan) == {f"artifacts/one/train/{n:08x}" for n in (0, 1, 3)}
    assert all("of study one" in removal.why for removal in plan)
    sizes = [store.manifest(ref("one", n)) for n in (0, 1, 3)]
    assert all(
        removal.bytes > manifest.bytes
        for removal, manifest in zip(plan, sizes, strict=True)
        if manifest
    )
    assert len(list(store.refs())) == 5  # a plan changes nothing
    assert apply_clean(plan) == sum(removal.bytes for removal in plan)
    assert list(store.refs()) == [ref("one", 2), ref("two", 9)]
    assert list(store.verify()) == []
    assert apply_clean(plan) >= 0  # again: nothing left to remove, no error


def test_superseded_keeps_the_newest_of_each_cell(store: Store) -> None:
    plan = plan_clean(store, superseded=True)
    assert removed(store, plan) == {f"artifacts/one/train/{n:08x}" for n in (0, 1)}
    assert "superseded by 00000002" in plan[0].why
    assert plan_clean(store, superseded=True, older_than=timedelta(hours=1)) == []
    both = plan_clean(store, superseded=True, older_than=timedelta(0), orphans=False)
    assert removed(store, both) == removed(store, plan)
    assert plan_clean(store, study="two", superseded=True) == []


def test_age(store: Store) -> None:
    assert len(plan_clean(store, older_than=timedelta(0))) == 5
    assert len(plan_clean(store, older_than=timedelta(0), study="two")) == 1


def age(path: Path, hours: float) -> None:
    then = time.time() - hours * 3600
    os.utime(path, (then, then))


def test_orphans_are_left_while_a_writer_may_be_at_work(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.write(ref("one", 0), {"runs": FRAME}, meta={})
    store.write(ref("one", 0), {"runs": FRAME + 1}, meta={})  # leaves the first version's file
    killed = tmp_path / "artifacts" / "one" / "train" / "00000001"
    killed.mkdir()
    (killed / ".runs-abc.tmp").write_bytes(b"half")
    assert plan_clean(store) == []
    assert len(plan_clean(store, older_than=timedelta(0), study="two")) == 0
    named = {entry.file for entry in store.manifest(ref("one", 0)).tables.values()}  # type: ignore[union-attr]
    for file in tmp_path.rglob("*"):
        age(file, 2)
    plan = plan_clean(store)
    assert {removal.path.name for removal in plan if ".tmp" in removal.path.name} == {
        ".runs-abc.tmp"
    }
    assert len(plan) == 2 and not named & {removal.path.name for removal in plan}
    assert plan_clean(store, orphans=False) == []
    apply_clean(plan)
    assert plan_clean(store) == []
    assert store.has(ref("one", 0)) and list(store.verify()) == []


def test_an_orphan_that_a_manifest_names_by_now_stays(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.write(ref("one", 0), {"runs": FRAME}, meta={})
    manifest = tmp_path / "artifacts" / "one" / "train" / "00000000" / "manifest.json"
    text = manifest.read_bytes()
    manifest.unlink()
    for file in tmp_path.rglob("*"):
        age(file, 2)
    plan = plan_clean(store)
    assert len(plan) == 1
    manifest.write_bytes(text)
    assert apply_clean(plan) == 0
    assert store.has(ref("one", 0)) and list(store.verify()) == []


def test_what_was_set_aside_and_checkpoints_go_by_age(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.write(ref("one", 0), {"runs": FRAME}, meta={})
    store.quarantine(ref("one", 0), "damaged")
    Checkpoint(store, "ab" * 8).save({"epoch": 1})
    assert plan_clean(store) == []
    plan = plan_clean(store, older_than=timedelta(0))
    assert {removal.why for removal in plan} == {
        "set aside as damaged",
        "checkpoint of a step that never finished",
    }
    assert len(plan_clean(store, older_than=timedelta(0), study="one")) == 1
    assert plan_clean(store, older_than=timedelta(0), study="two") == []
    apply_clean(plan)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_damaged_manifest_is_not_an_orphan(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.write(ref("one", 0), {"runs": FRAME}, meta={})
    manifest = tmp_path / "artifacts" / "one" / "train" / "00000000" / "manifest.json"
    manifest.write_text("{")
    for file in tmp_path.rglob("*"):
        age(file, 2)
    assert [removal.path.suffix for removal in plan_clean(store)] == [".parquet"]


def test_links_are_removed_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    store = Store.open(tmp_path / "root")
    store.write(ref("one", 0), {"runs": FRAME}, meta={})
    folder = tmp_path / "root" / "artifacts" / "one" / "train" / "00000000"
    (folder / "link").symlink_to(outside)
    apply_clean(plan_clean(store, study="one"))
    assert not folder.exists()
    assert (outside / "precious").read_text() == "mine"
