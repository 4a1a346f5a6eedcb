"""Write the samples of this folder anew from the packages that ship their data."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import sklearn.datasets

HERE = Path(__file__).parent


def digits() -> pa.Table:
    """1797 images, a fixed-size-list column with its shape in the schema's metadata."""
    data = sklearn.datasets.load_digits()
    pixels = data.images.astype(np.uint8).reshape(len(data.target), -1)
    values = pa.FixedSizeListArray.from_arrays(pa.array(pixels.ravel()), pixels.shape[1])
    field = pa.field("image", values.type, metadata={"shape": json.dumps([1, 8, 8])})
    labels = pa.array(data.target, pa.int64())
    return pa.table([values, labels], schema=pa.schema([field, pa.field("digit", pa.int64())]))


def breast_cancer() -> pa.Table:
    """569 rows of 30 numbers, with the diagnosis as a word."""
    data = sklearn.datasets.load_breast_cancer(as_frame=True)
    frame = data.data.rename(columns=lambda name: name.replace(" ", "_"))
    frame["diagnosis"] = np.asarray(data.target_names)[data.target]
    return pa.Table.from_pandas(frame, preserve_index=False)


if __name__ == "__main__":
    for name, table in {"digits": digits(), "breast-cancer": breast_cancer()}.items():
        pq.write_table(table, HERE / f"{name}.parquet", compression="zstd")
