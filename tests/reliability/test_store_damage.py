"""What is damaged or planted is a miss or a set-aside; nothing of it is executed."""

import hashlib
import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from overparam.store import ArtifactRef, Checkpoint, DamagedArtifact, Store, import_safetensors

REF = ArtifactRef("study", "step", "0123456789abcdef")
FRAME = pd.DataFrame({"x": np.random.Generator(np.random.Philox(key=1)).random(5000)})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store.open(tmp_path / "root")
    store.write(REF, {"runs": FRAME, "more": FRAME}, meta={"cell": {}})
    return store


def files(store: Store) -> tuple[Path, Path]:
    folder = Path(str(store.folder(REF)))
    return folder / "manifest.json", next(folder.glob("runs-*.parquet"))


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("where", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_flipped_byte_is_found_by_reading(store: Store, where: float) -> None:
    _, table = files(store)
    flip(table, int(where * table.stat().st_size))
    assert store.has(REF)  # which reads no table
    for read in (
        lambda: store.read(REF)["runs"],
        lambda: store.read(REF).arrow("runs"),
        lambda: list(store.read(REF).batches("runs")),
        lambda: store.read(REF).array("runs", "x"),
    ):
        with pytest.raises(DamagedArtifact, match=r"study/step/0123.*table 'runs'.*SHA-256"):
            read()
    pd.testing.assert_frame_equal(store.read(REF)["more"], FRAME)
    assert [(ref, table) for ref, table, _ in store.verify()] == [(REF, "runs")]


def test_damaged_then_set_aside_then_made_again(store: Store) -> None:
    _, table = files(store)
    flip(table, 100)
    with pytest.raises(DamagedArtifact) as caught:
        store.read(REF)["runs"]
    assert store.quarantine(caught.value.ref, caught.value.why) is not None
    assert not store.has(REF) and store.damaged(REF) is None
    store.write(REF, {"runs": FRAME, "more": FRAME}, meta={"cell": {}})
    pd.testing.assert_frame_equal(store.read(REF)["runs"], FRAME)


def manifest_with(change: Callable[[dict], None]) -> Callable[[Store], None]:
    def damage(store: Store) -> None:
        path, _ = files(store)
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


def folder_for_manifest(store: Store) -> None:
    path, _ = files(store)
    path.unlink()
    path.mkdir()


def link_for_table(store: Store) -> None:
    _, path = files(store)
    path.rename(store.root / "moved")
    path.symlink_to(str(store.root / "moved"))


DAMAGES: dict[str, tuple[Callable[[Store], object], str]] = {
    "truncated table": (lambda s: os.truncate(files(s)[1], 1000), "has 1000 bytes, not"),
    "empty table": (lambda s: os.truncate(files(s)[1], 0), "has 0 bytes"),
    "missing table": (lambda s: files(s)[1].unlink(), "is missing"),
    "a link for a table": (link_for_table, "is missing"),
    "manifest empty": (lambda s: files(s)[0].write_bytes(b""), "not a manifest"),
    "manifest cut": (lambda s: os.truncate(files(s)[0], 200), "not a manifest"),
    "manifest not UTF-8": (lambda s: files(s)[0].write_bytes(b"\xff\xfe{}"), "not a manifest"),
    "manifest of zeros": (lambda s: files(s)[0].write_bytes(bytes(500)), "not a manifest"),
    "manifest a list": (lambda s: files(s)[0].write_text("[1]"), "not a manifest"),
    "manifest too deep": (
        lambda s: files(s)[0].write_text('{"meta":' + "[" * 100_000 + "]" * 100_000 + "}"),
        "not a manifest",
    ),
    "manifest a folder": (folder_for_manifest, "is a folder"),
    "another format": (manifest_with(lambda m: m.update(format=2)), "format"),
    "an unknown field": (manifest_with(lambda m: m.update(run="rm -rf")), "run"),
    "another artifact's": (manifest_with(lambda m: m.update(step="other")), "study/other/"),
    "a name that leaves": (manifest_with(lambda m: m.update(study="../..")), "not allowed"),
    "a file that leaves": (
        manifest_with(lambda m: m["tables"]["runs"].update(file="../../../secret.parquet")),
        "a name that its hash does not give",
    ),
    "a table name that leaves": (
        manifest_with(lambda m: m["tables"].update({"../x": m["tables"].pop("runs")})),
        "not allowed",
    ),
    "another number of rows": (
        manifest_with(lambda m: m["tables"]["runs"].update(rows=4999)),
        "has other content than was written",
    ),
    "another cell": (
        manifest_with(lambda m: m["meta"].update(cell={"seed": 1})),
        "has other content than was written",
    ),
    "another size": (manifest_with(lambda m: m["tables"]["runs"].update(bytes=7)), "not 7"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_that_shows_is_a_miss(store: Store, name: str) -> None:
    damage, said = DAMAGES[name]
    damage(store)
    assert not store.has(REF) and store.manifest(REF) is None
    why = store.damaged(REF)
    assert why is not None and said in why
    with pytest.raises(DamagedArtifact) as caught:
        store.read(REF)
    assert caught.value.table is None and said in str(caught.value)
    assert [found for found, _, _ in store.verify()] == [REF]
    assert store.newest("study", "step") is None
    place = store.quarantine(REF, why)
    assert place is not None and not Path(str(store.folder(REF)), "manifest.json").exists()
    assert store.damaged(REF) is None
    store.write(REF, {"runs": FRAME}, meta={})
    assert store.has(REF)


def test_tables_that_vanish_after_the_manifest_was_read(store: Store) -> None:
    tables = store.read(REF)
    files(store)[1].unlink()
    with pytest.raises(DamagedArtifact, match="is missing"):
        tables["runs"]


class Bomb:
    """Unpickling it makes a folder."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_a_planted_pickle_never_runs(store: Store, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    bomb = pickle.dumps(Bomb(marker))
    pickle.loads(bomb)  # noqa: S301
    assert marker.is_dir()  # it is a live one
    marker.rmdir()

    folder = files(store)[0].parent
    for name in ("x.pkl", "runs.pkl", ".x.tmp", "result.pickle"):
        (folder / name).write_bytes(bomb)
    assert store.has(REF)
    pd.testing.assert_frame_equal(store.read(REF)["runs"], FRAME)

    manifest, _ = files(store)
    content = json.loads(manifest.read_text())
    digest = hashlib.sha256(bomb).hexdigest()
    planted = f"runs-{digest[:16]}.parquet"
    (folder / planted).write_bytes(bomb)
    content["tables"]["runs"].update(file=planted, sha256=digest, bytes=len(bomb))
    del content["seal"]  # as older versions wrote it; who plants could also make a new one
    manifest.write_text(json.dumps(content))
    assert store.has(REF)  # name, size and hash are right: only reading tells
    for read in (lambda: store.read(REF)["runs"], lambda: list(store.read(REF).batches("runs"))):
        with pytest.raises(DamagedArtifact, match="not a readable Parquet file"):
            read()
    assert [problem[:2] for problem in store.verify()] == [(REF, "runs")]
    store.quarantine(REF, "planted")

    manifest.write_bytes(bomb)
    assert not store.has(REF) and "not a manifest" in str(store.damaged(REF))

    (tmp_path / "net.safetensors").write_bytes(bomb)
    with pytest.raises(ValueError, match="not a safetensors file"):
        import_safetensors(tmp_path / "net.safetensors")

    checkpoint = Checkpoint(store, REF.key)
    checkpoint.save({"x": np.ones(3)})
    scratch = Path(str(store.scratch(REF.key)))
    for name in [*os.listdir(scratch), "state.pt"]:
        (scratch / name).write_bytes(bomb)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert checkpoint.load() is None
    assert len(caught) == 1
    assert not marker.exists()
