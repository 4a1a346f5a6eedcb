"""Over what a step runs: lists, functions, both; batches; names that only align."""

import re
from typing import ClassVar

import pandas as pd
import pytest

from overparam.study import ConfigError, DeclarationError, Field, Study, StudyConfig


class Config(StudyConfig):
    families: tuple[str, ...] = ("mlp", "vit")
    prompts: tuple[int, ...] = (2,)
    profiles: ClassVar = {"quick": {"seeds": 3}, "full": {"seeds": 5}}


def runs(config):
    """Prompts for the transformer alone."""
    return [
        {"family": family, "prompt": prompt}
        for family in config.families
        for prompt in (config.prompts if family == "vit" else (0,))
    ]


@pytest.fixture
def study():
    return Study("spread", theme="toys", config=Config, question="?")


def refused(declare, function, parameter, words):
    with pytest.raises(DeclarationError, match=re.escape(f"parameter {parameter!r} {words}")):
        declare(function)


def cells(study, step, **overrides):
    plan = study.plan(**overrides)
    return [tuple(cell.values.values()) for cell in plan.cells_of(study.steps[step])]


def test_a_function_and_a_list_are_combined_each_with_each(study):
    @study.train(each=[runs, {"seed": "seeds"}])
    def nets(*, family, prompt, seed): ...

    assert nets.cell_names == ("family", "prompt", "seed")
    assert cells(study, "nets", seeds=2) == [
        ("mlp", 0, 0), ("mlp", 0, 1), ("vit", 2, 0), ("vit", 2, 1),
    ]  # fmt: skip


def test_a_batch_may_follow_a_function(study, store):
    @study.train(each=[runs, {"seed": "seeds"}], batch=2)
    def nets(*, family, prompt, seeds):
        return pd.DataFrame({"seed": seeds, "together": len(seeds), "what": f"{family}{prompt}"})

    table = study.run(store).tables("nets").only()
    assert table["together"].tolist() == [2, 2, 1] * 2
    assert table["what"].tolist() == ["mlp0"] * 3 + ["vit2"] * 3
    # One more seed leaves the others where they are, which a cell of all seeds would not.
    more = study.run(store, seeds=4)
    assert [r.state for r in more.records] == ["cached", "cached", "cached", "completed"] * 2


def test_a_batch_needs_a_list_at_the_end(study):
    def nets(*, family, prompt, seed): ...

    words = "needs each= to end in {name: list field}"
    refused(study.train(each=runs, batch=2), nets, "batch", words)
    refused(study.train(each=[{"seed": "seeds"}, runs], batch=2), nets, "batch", words)


def test_a_name_is_spread_over_once(study):
    def nets(*, family, prompt): ...

    declare = study.train(each=[runs, {"family": "families"}])
    refused(declare, nets, "family", "is spread over twice")


def test_a_name_that_only_aligns_need_not_be_taken(study, store):
    @study.generate(each={"family": "families", "seed": "seeds"})
    def data(*, family, seed):
        return pd.DataFrame({"x": [f"{family}{seed}"]})

    @study.evaluate(each={"family": "families"})
    def sizes(data):
        table = data["data"]
        return pd.DataFrame({"rows": [len(table)], "families": [table["family"].nunique()]})

    found = study.run(store).tables("sizes").only()
    assert found.to_dict("list") == {"family": ["mlp", "vit"], "rows": [3, 3], "families": [1, 1]}
    assert (sizes.cell_names, sizes.cell_values) == (("family",), ())
    keys = [key.key for key in study.run(store).records if key.step == "sizes"]
    assert len(set(keys)) == 2


def test_a_batched_name_aligns_and_the_others_need_not_be_taken(study, store):
    @study.generate(each={"family": "families", "seed": "seeds"})
    def data(*, family, seed):
        return pd.DataFrame({"x": [family]})

    @study.train(each={"family": "families", "seed": "seeds"}, batch=3)
    def nets(data, *, seeds):
        return data["data"][["seed", "x"]].rename(columns={"x": "trained_on"})

    table = study.run(store).tables("nets").only()
    assert (table["family"] == table["trained_on"]).all() and len(table) == 6


def test_a_name_that_neither_is_taken_nor_aligns_makes_cells_that_are_alike(study):
    @study.generate(each={"family": "families"})
    def data(*, family): ...

    def nets(data): ...

    declare = study.train(each={"family": "families", "seed": "seeds"})
    refused(declare, nets, "seed", "is spread over but not taken (keyword-only), and nothing")


def test_an_empty_part_is_named(study):
    @study.train(each=[runs, {"seed": "seeds"}])
    def nets(*, family, prompt, seed): ...

    with pytest.raises(ConfigError, match="runs x seeds, over which 'nets' is spread, must not be"):
        cells(study, "nets", families=())


def test_needs_and_within_name_fields():
    class Wrong(StudyConfig):
        tasks: tuple[str, ...] = ("a",)
        needs: ClassVar = {"own": ("own_fil",)}

    class Worse(StudyConfig):
        tasks: tuple[str, ...] = ("a",)
        within: ClassVar = {"some": "tasks"}

    for config, words in ((Wrong, "needs: 'own' asks for 'own_fil'"), (Worse, "within names 'so")):
        with pytest.raises(DeclarationError, match=re.escape(words)):
            Study("wrong", theme="toys", config=config, question="?")


class Fitting(StudyConfig):
    tasks: tuple[str, ...] = Field(("digits/mlp", "mnist1d/mlp"), description="DATA/MODEL")
    reference: tuple[str, ...] = Field(("mnist1d/mlp",), description="some of tasks")
    own_x: str | None = None
    own_y: str | None = None
    needs: ClassVar = {"own": ("own_x", "own_y")}
    within: ClassVar = {"reference": "tasks"}


@pytest.mark.parametrize(
    ("tasks", "reference"),
    [
        (("mnist1d/mlp", "digits/mlp"), ["mnist1d/mlp"]),  # the default, as far as it is there
        (("digits/vgg", "digits/mlp"), ["digits/vgg"]),  # else the first
        (["digits/mlp"], ["digits/mlp"]),
    ],
)
def test_a_part_follows_the_whole(tasks, reference):
    assert list(Fitting.for_profile("quick", {"tasks": tasks}).reference) == reference


def test_a_part_that_is_said_must_be_of_the_whole():
    with pytest.raises(ConfigError, match=r"reference holds \['b'\]; allowed: those of tasks"):
        Fitting.for_profile("quick", {"tasks": ("a",), "reference": ("a", "b")})
    with pytest.raises(ConfigError, match=r"reference holds .*; allowed: those of tasks"):
        Fitting.for_profile("quick", {"reference": ("digits/vgg",)})
    with pytest.raises(ConfigError, match="tasks"):
        Fitting.for_profile("quick", {"tasks": 3})


@pytest.mark.parametrize("task", ["own", "own/mlp"])
def test_a_name_in_a_list_asks_for_its_fields(task):
    with pytest.raises(ConfigError, match=f"tasks: {task} needs own_x and own_y"):
        Fitting.for_profile("quick", {"tasks": (task,)})
    with pytest.raises(ConfigError, match=f"tasks: {task} needs own_y"):
        Fitting.for_profile("quick", {"tasks": (task,), "own_x": "x.npy"})
    given = {"tasks": (task,), "own_x": "x.npy", "own_y": "y.npy"}
    assert Fitting.for_profile("quick", given).reference == (task,)
    assert Fitting.for_profile("quick", {"tasks": ("owner/mlp",)}).own_x is None
