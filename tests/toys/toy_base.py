"""A toy base: a study without claims whose step others read."""

import pandas as pd

from overparam.study import Field, Study, StudyConfig


class Config(StudyConfig):
    depth: int = Field(2, ge=1, description="depth of the network")


study = Study("toy-base", theme="bases", config=Config, question="A network to start from.")


@study.train(each={"seed": "seeds"})
def pretrained(*, seed, depth):
    return pd.DataFrame({"weight": [float(seed * 10 + depth)]})
