"""A toy study whose cells a function of the config lists, read by steps that align with them."""

from typing import ClassVar

import numpy as np
import pandas as pd

from overparam.study import Field, Study, StudyConfig


class Config(StudyConfig):
    widths: tuple[int, ...] = Field((2, 3), description="widths of the networks")
    noise: float = Field(0.5, ge=0, description="only the evaluation reads it")
    profiles: ClassVar = {"quick": {}, "full": {"widths": (2, 3, 4)}}


def pairs(config):
    """All widths at depth 1, the first one at depth 2 as well."""
    cells = [{"width": width, "depth": 1} for width in config.widths]
    return [*cells, {"width": config.widths[0], "depth": 2}]


study = Study("cells", theme="toys", config=Config, question="Which cells belong together?")


@study.generate(each={"seed": "seeds"})
def data(*, seed):
    return pd.DataFrame({"x": [float(seed)]})


@study.train(each=pairs)
def nets(data, *, width, depth):
    return data["data"].assign(size=np.int64(width * depth))


@study.evaluate(each={"seed": "seeds", "width": "widths"})
def scores(data, nets, *, seed, width, noise):
    table = nets["nets"]
    return pd.DataFrame(
        {
            "data_rows": [len(data["data"])],
            "nets_rows": [len(table)],
            "widths": [table["width"].nunique()],
            "noise": [noise],
        }
    )
