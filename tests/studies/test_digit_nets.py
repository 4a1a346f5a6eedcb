"""The pretrained digit networks: quick run, plain steps, how a reader takes them."""

import numpy as np
import pandas as pd
import pytest
import torch

from overparam.datasets import digit_source, digit_target
from overparam.errors import ConfigError
from overparam.models import seeded, with_weights
from overparam.store import Store
from overparam.studies import find, load
from overparam.studies.bases.digit_nets import (
    CLASSES,
    NETWORKS,
    Config,
    network,
    pretrained,
    source,
    study,
)

TINY = {"epochs": 1, "vit_epochs": 1, "batch_size": 60, "learning_rate": 1e-3, "weight_decay": 0.0}


READER = """
import pandas as pd

from overparam.studies.bases.digit_nets import pretrained
from overparam.study import Study, StudyConfig


class Config(StudyConfig):
    families: tuple[str, ...] = ("mlp",)


study = Study("reader", theme="tests", config=Config, question="?")


@study.train(each={"family": "families", "seed": "seeds"}, reads={"base": pretrained})
def heads(base, *, family, seed):
    weight = base.weights("weights", family=family, seed=seed)["head.weight"]
    return pd.DataFrame({"rows": [len(weight)]})
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store.open(tmp_path_factory.mktemp("digit-nets"))


@pytest.fixture(scope="module")
def quick(store):
    return study.run(store)


@pytest.fixture(scope="module")
def sources():
    """A few images of the source tasks of two seeds."""
    file = Config().step_value("digits_file")
    tables = [source(seed=seed, digits_file=file)["source"].iloc[::60] for seed in (0, 1)]
    return pd.concat(tables, ignore_index=True)


def test_the_base_learns_its_source_task(quick):
    runs = quick.tables("pretrained")["runs"]
    assert runs["family"].tolist() == ["mlp"] and runs["seed"].tolist() == [0]
    assert runs["train_acc"].min() > 0.95
    assert runs["test_acc"].min() > 0.8
    assert not runs["diverged"].any()


def test_the_stored_weights_are_those_of_the_accuracies(quick):
    tables = quick.tables("pretrained")
    net = with_weights(network("mlp"), tables.weights("weights", seed=0)).eval()
    test = digit_source(0).test
    with torch.no_grad():
        right = net(torch.from_numpy(test.x)).argmax(1).numpy() == test.y
    assert right.mean() == pytest.approx(tables["runs"]["test_acc"].item(), abs=1e-3)


def test_no_target_image_is_in_the_source_of_its_seed():
    seen = {image.tobytes() for image in digit_source(3).train.x}
    task = digit_target("parity", seed=3)
    rest = np.concatenate([task.train.x, task.val.x, task.test.x])
    # Two digits of the data set may be equal in every pixel; hardly more than a few are.
    assert sum(image.tobytes() in seen for image in rest) <= 3


@pytest.mark.parametrize("family", NETWORKS)
def test_a_member_does_not_depend_on_its_company(family, sources):
    both = pretrained(sources, family=family, seeds=(0, 1), **TINY)
    alone = pretrained(sources[sources["seed"] == 1], family=family, seeds=(1,), **TINY)
    assert both["runs"]["seed"].tolist() == [0, 1]
    start = seeded(lambda: network(family), 1).state_dict()
    for name, tensor in alone.weights("weights", seed=1).items():
        # Adam turns rounding of tiny gradients into steps; another seed's weights are 0.1 away.
        torch.testing.assert_close(both.weights("weights", seed=1)[name], tensor, rtol=0, atol=1e-3)
    assert not torch.equal(alone.weights("weights")["head.weight"], start["head.weight"])


def test_a_users_study_gets_the_network_of_its_own_cell(quick, store, tmp_path):
    file = tmp_path / "reader.py"
    file.write_text(READER)
    reader = load(str(file))
    run = reader.run(store, seeds=1)
    assert run.tables("heads")["heads"]["rows"].tolist() == [CLASSES]
    assert run.tables("heads").columns("heads") == ("family", "seed", "rows")
    states = {record.step: record.state for record in run.records}
    assert states == {"source": "cached", "pretrained": "cached", "heads": "completed"}


def test_it_is_listed_as_a_base_without_claims():
    entry = find("digit-nets")
    assert (entry.theme, entry.claims, entry.paper) == ("bases", (), {})


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"families": ("cnn",)}, "convnext"), ({"epochs": 0}, "epochs"), ({"lr": 1}, "fields")],
)
def test_bad_config(setting, message):
    with pytest.raises(ConfigError, match=message):
        Config.for_profile("quick", setting)
