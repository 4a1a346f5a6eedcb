"""A toy study that starts from the step of another one."""

import toy_base

from overparam.study import Field, Study, StudyConfig


class Config(StudyConfig):
    shift: float = Field(1.0, description="what fine-tuning adds")


study = Study("toy-reader", theme="toys", config=Config, question="Does a base help?")


@study.train(each={"seed": "seeds"}, reads={"pretrained": toy_base.pretrained})
def tuned(pretrained, *, seed, shift):
    frame = pretrained["pretrained"]
    return frame.assign(weight=frame["weight"] + shift)


@study.evaluate
def gains(tuned):
    return tuned["tuned"]
