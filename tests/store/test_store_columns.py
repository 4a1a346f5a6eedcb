"""Data frames come back from a file as they went in, or are refused by name."""

import uuid
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from overparam.store import ArtifactRef, Store, Tables, content_digest, tensor_column

REF = ArtifactRef("study", "step", "0123456789abcdef")


def stored(frame: Any) -> Tables:
    store = Store.open(f"memory://{uuid.uuid4().hex}")
    store.write(REF, {"table": frame}, meta={})
    return store.read(REF)


KINDS = {
    "int": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=64),
    "bool": st.booleans(),
    "str": st.text(max_size=5).filter(lambda s: all(not 0xD800 <= ord(c) < 0xE000 for c in s)),
    "bytes": st.binary(max_size=5),
    "list": st.lists(st.floats(width=32), max_size=3),
}


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    rows = draw(st.integers(0, 5))
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4))
    columns: dict[str, pd.Series] = {}
    for position, kind in enumerate(kinds):
        values: list[Any] = [draw(KINDS[kind]) for _ in range(rows)]
        dtype = {"int": "int64", "float": "float64", "bool": "bool", "str": "str"}.get(kind, object)
        if kind in ("str", "bytes", "list") and rows and draw(st.booleans()):
            values[0] = None
        columns[f"{position}-{kind}"] = pd.Series(values, dtype=dtype)
    return pd.DataFrame(columns)


@settings(max_examples=60, deadline=None)
@given(frames())
def test_frames_round_trip(frame: pd.DataFrame) -> None:
    back = stored(frame)["table"]
    assert list(back.columns) == list(frame.columns) and len(back) == len(frame)
    for name in frame.columns:
        if frame[name].dtype != object:
            pd.testing.assert_series_equal(back[name], frame[name])
        else:
            for ours, theirs in zip(back[name], frame[name], strict=True):
                if theirs is None or isinstance(theirs, bytes):
                    assert ours == theirs
                else:
                    assert np.array_equal(ours, theirs, equal_nan=True)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(
            [np.float64, np.float32, np.float16, np.int8, np.uint16, np.int64, np.bool_]
        ),
        hnp.array_shapes(min_dims=2, max_dims=4, max_side=4),
    )
)
def test_tensors_round_trip(array: np.ndarray) -> None:
    tables = stored(pa.table({"image": tensor_column(array), "n": np.arange(len(array))}))
    back = tables.array("table", "image")
    assert back.dtype == array.dtype and back.flags.writeable
    assert back.tobytes() == array.tobytes() and back.shape == array.shape
    rows = tables["table"]["image"]
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(rows, array, strict=True))


def test_arrays_of_one_shape_in_a_frame_become_tensors() -> None:
    images = [np.arange(6, dtype=np.float32).reshape(2, 3) + k for k in range(4)]
    tables = stored(pd.DataFrame({"a": range(4), "image": images, "label": list("wxyz")}))
    assert tables.arrow("table").schema.field("image").type == pa.fixed_shape_tensor(
        pa.float32(), [2, 3]
    )
    frame = tables["table"]
    assert list(frame.columns) == ["a", "image", "label"]
    assert frame["image"][3].dtype == np.float32 and frame["image"][3].shape == (2, 3)
    assert np.array_equal(tables.array("table", "image"), np.stack(images))
    assert len(frame[["image"]]) == 4


def test_a_table_of_tensors_alone_and_an_empty_one() -> None:
    tables = stored(pa.table({"image": tensor_column(np.zeros((3, 2, 2)))}))
    assert tables["table"].shape == (3, 1)
    empty = stored(pa.table({"image": tensor_column(np.zeros((0, 2, 5), np.float32))}))
    assert empty.array("table", "image").shape == (0, 2, 5)
    assert empty.array("table", "image").dtype == np.float32
    assert [batch.num_rows for batch in empty.batches("table")] == [0]


def test_pandas_own_types_round_trip() -> None:
    frame = pd.DataFrame(
        {
            "nullable": pd.array([1, None, 2**60 + 1], "Int64"),
            "truth": pd.array([True, None, False], "boolean"),
            "kind": pd.Categorical(["b", "a", "b"], categories=["b", "a", "c"], ordered=True),
            "when": pd.to_datetime(["2020-01-01", None, "2021-01-01"], utc=True),
            "took": pd.to_timedelta([1, 2, 3], unit="s"),
            "half": np.array([1, 2, 3], np.float16),
            "text": ["a", None, ""],
        }
    )
    pd.testing.assert_frame_equal(stored(frame)["table"], frame)


def test_lists_are_one_array_when_they_are_of_one_length() -> None:
    tables = stored(pd.DataFrame({"even": [[1, 2], [3, 4.5]], "odd": [[1], [2, 3]]}))
    assert np.array_equal(tables.array("table", "even"), [[1, 2], [3, 4.5]])
    with pytest.raises(ValueError, match="table 'table', column 'odd': lists of unequal lengths"):
        tables.array("table", "odd")
    with pytest.raises(ValueError, match=r"rows are missing|unequal"):
        stored(pd.DataFrame({"x": [[1, 2], None]})).array("table", "x")


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame({"a": [{}]}), "column 'a': holds Python objects of type dict"),
        (pd.DataFrame({"a": [1, "x"]}), "of type int, str"),
        (pd.DataFrame({"a": [True, None]}), "of type bool"),
        (pd.DataFrame({"a": [["x"]]}), "a list of <U1"),
        (pd.DataFrame({"a": [[[1], [1, 2]]]}), "a list of object"),
        (pd.DataFrame({"a": [np.zeros((2, 2)), np.zeros((2, 3))]}), "one shape and type"),
        (pd.DataFrame({"a": [np.zeros((2, 2)), None]}), "1 missing"),
        (pd.DataFrame({"a": [np.zeros((2, 2), complex)]}), "type complex128"),
        (pd.DataFrame({"a": [1 + 2j]}), "type complex128 can't be stored"),
        (pd.DataFrame({"a": [1, 2]}, index=[3, 4]), "index would be lost"),
        (pd.DataFrame({"a": [1]}, index=pd.RangeIndex(1, name="n")), "index would be lost"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "more than one column is named 'a'"),
        (pd.DataFrame([[1]], columns=[0]), "column name 0 is not allowed"),
        (pd.DataFrame([[1]], columns=["a\0"]), "without NUL"),
        (pd.DataFrame(), "no columns"),
    ],
)
def test_what_a_table_cannot_hold_is_refused_by_name(frame: pd.DataFrame, said: str) -> None:
    with pytest.raises(ValueError, match="table 'table'") as caught:
        Tables.of({"table": frame})
    assert said in str(caught.value)


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((3, 0)), np.zeros((2, 2), "U1")])
def test_what_is_no_tensor_column(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="allowed"):
        tensor_column(array)


def test_a_digest_sees_values_and_types_and_nothing_else() -> None:
    frame = pd.DataFrame({"x": [1.0, 2.0, 3.0], "s": ["a", None, "c"]})
    table = pa.Table.from_pandas(frame, preserve_index=False)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert content_digest(frame) == content_digest(table) == content_digest(chunked)
    hidden = pa.array([1, 99, 3], mask=np.array([False, True, False]))
    assert content_digest(pa.table({"a": hidden})) == content_digest(pa.table({"a": [1, None, 3]}))
    digests = {
        content_digest(other)
        for other in (
            frame,
            frame.iloc[::-1].reset_index(drop=True),
            frame.rename(columns={"x": "y"}),
            frame.assign(x=np.nextafter(frame.x, 9)),
            frame.assign(x=frame.x.astype(np.float32)),
            frame.assign(x=frame.x.astype(np.int64)),
            frame.iloc[:2],
            pd.DataFrame({"x": [0.0]}),
            pd.DataFrame({"x": [-0.0]}),
        )
    }
    assert len(digests) == 9
    assert content_digest(frame, volatile=["x"]) == content_digest(frame[["s"]])
