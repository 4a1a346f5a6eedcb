"""Eight processes that make the same artifact at once all succeed and leave one valid artifact."""

import multiprocessing
from pathlib import Path

import pytest

from overparam.store import ArtifactRef, DamagedArtifact, Store, equal_tables

REF = ArtifactRef("study", "step", "0123456789abcdef")
WRITER = """
import numpy, pandas
from overparam.store import ArtifactRef, Store
store = Store.open(root)
ref = ArtifactRef("study", "step", "0123456789abcdef")
gate.wait(30)
for turn in range(3):
    frame = pandas.DataFrame({"x": numpy.arange(5000.0), "seconds": float(number + 10 * turn)})
    store.write(ref, {"runs": frame}, meta={"writer": number}, volatile=["seconds"])
    assert store.has(ref)
"""


def test_eight_writers_of_one_key(tmp_path: Path) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["pytest", "overparam.store", "pyarrow.parquet", "pandas"])
    gate = processes.Barrier(9)
    writers = [
        processes.Process(
            target=exec, args=(WRITER, {"root": str(tmp_path), "number": n, "gate": gate})
        )
        for n in range(8)
    ]
    for writer in writers:
        writer.start()
    store = Store.open(tmp_path)
    gate.wait(30)
    seen = 0
    while any(writer.is_alive() for writer in writers):
        if store.has(REF):
            frame = store.read(REF)["runs"]  # never a mix, never half
            assert len(frame) == 5000 and frame["seconds"].nunique() == 1
            seen += 1
        else:
            assert not seen, "the artifact was there and vanished"
            assert store.damaged(REF) is None
    for writer in writers:
        writer.join(30)
    assert [writer.exitcode for writer in writers] == [0] * 8
    assert list(store.refs()) == [REF] and list(store.verify()) == []
    assert not list(tmp_path.rglob("*.tmp"))
    ours = store.read(REF)["runs"].assign(seconds=0.0)
    assert equal_tables(store.read(REF), {"runs": ours}, volatile=["seconds"])


def test_two_who_set_the_same_artifact_aside(tmp_path: Path) -> None:
    import pandas as pd

    store = Store.open(tmp_path)
    store.write(REF, {"runs": pd.DataFrame({"x": [1]})}, meta={})
    tables = store.read(REF)
    first, second = store.quarantine(REF, "damaged"), store.quarantine(REF, "damaged")
    assert first is not None and second is None
    with pytest.raises(DamagedArtifact, match="is missing"):
        tables["runs"]
