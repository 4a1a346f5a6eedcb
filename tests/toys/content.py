"""A toy study whose config names files and a factory."""

import pandas as pd

from overparam.study import DataFile, Factory, Study, StudyConfig, Weights


class Config(StudyConfig):
    data: DataFile | None = None
    weights: Weights | None = None
    factory: Factory | None = None


study = Study("content", theme="toys", config=Config, question="What counts of a file?")


@study.generate
def loaded(*, data, weights, factory):
    return pd.DataFrame({"data": [str(data)], "weights": [str(weights)], "factory": [factory]})
