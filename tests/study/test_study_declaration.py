"""A study that is written wrongly is refused: by file, function and parameter."""

import re
from typing import ClassVar

import pandas as pd
import pytest

from overparam.evidence import exact
from overparam.study import DeclarationError, Field, Paper, Study, StudyConfig


class Config(StudyConfig):
    epochs: int = Field(3, ge=1)
    methods: tuple[str, ...] = ("a", "b")
    rates: list[float] | None = None


@pytest.fixture
def study():
    made = Study("toy", theme="toys", config=Config, question="?")

    @made.generate
    def data(*, seeds):
        return pd.DataFrame({"seed": seeds})

    return made


def refused(declare, function, parameter, *words):
    """The message of the error, which names file, line, function and parameter."""
    with pytest.raises(DeclarationError) as caught:
        declare(function)
    message = str(caught.value)
    code = function.__code__
    assert f"{code.co_filename}:{code.co_firstlineno}: {function.__name__}: " in message
    assert f"parameter {parameter!r}" in message
    for word in words:
        assert word in message
    return message


def test_unknown_step_gives_the_nearest(study):
    def nets(dta, *, seeds): ...

    refused(study.train, nets, "dta", "is not a step", "did you mean data?")


def test_a_config_field_taken_as_a_step_says_what_to_do(study):
    def nets(epochs): ...

    refused(study.train, nets, "epochs", "keyword-only", "`*`")


def test_step_that_reads_itself_is_a_cycle(study):
    def nets(nets): ...

    refused(study.train, nets, "nets", "cycle")


def test_cycle_of_two_needs_a_step_declared_above(study):
    def first(second): ...

    refused(study.train, first, "second", "not a step declared above")


def test_unknown_field_gives_the_nearest(study):
    def nets(data, *, epoch): ...

    refused(study.train, nets, "epoch", "is not a config field", "did you mean epochs?")


def test_starred_arguments_hide_what_is_read(study):
    def nets(data, *others): ...

    def scores(data, **options): ...

    refused(study.train, nets, "*others", "name each")
    refused(study.evaluate, scores, "**options", "name each")


def test_default_value_belongs_in_the_config(study):
    def nets(data, *, epochs=3): ...

    refused(study.train, nets, "epochs", "default", "config")


def test_spread_over_no_field(study):
    def nets(data, *, method): ...

    refused(study.train(each={"method": "metods"}), nets, "method", "'metods'", "methods?")


def test_spread_over_no_list(study):
    def nets(data, *, epoch): ...

    refused(study.train(each={"epoch": "epochs"}), nets, "epoch", "'epochs'", "not a list")


def test_spread_over_a_list_that_may_be_none_and_over_seeds_is_fine(study):
    def nets(data, *, rate, seed): ...

    step = study.train(each={"rate": "rates", "seed": "seeds"})(nets)
    assert step.cell_names == ("rate", "seed")
    assert step.fields == ()


def test_spread_over_a_field_without_a_default():
    class Own(StudyConfig):
        sizes: tuple[int, ...]

    own = Study("own", theme="toys", config=Own, question="?")

    @own.generate(each={"size": "sizes"})
    def data(*, size): ...

    assert data.cell_names == ("size",)

    def nets(data, *, width): ...

    declare = own.train(each=lambda config: [{"width": size} for size in config.sizes])
    refused(declare, nets, "each", "needs a default")


def test_spread_not_taken(study):
    def nets(data, *, seeds): ...

    refused(study.train(each={"method": "methods"}), nets, "method", "not taken")


def test_batch_without_each(study):
    def nets(data, *, seeds): ...

    refused(study.train(batch=4), nets, "batch", "each=")
    refused(study.train(batch=0, each={"seed": "seeds"}), nets, "batch", "at least 1")


def test_batch_takes_the_list(study):
    def nets(data, *, seed): ...

    refused(study.train(batch=4, each={"seed": "seeds"}), nets, "seeds", "batch of seed values")


@pytest.mark.parametrize("cells", [[], [{"a": 1}, {"b": 1}]], ids=["no cell", "unlike cells"])
def test_function_that_lists_bad_cells(study, cells):
    def nets(data, *, a): ...

    refused(study.train(each=lambda config: cells), nets, "each", "at least one cell")


def test_step_declared_twice_and_the_name_report(study):
    def data(*, seeds): ...

    def report(data): ...

    refused(study.generate, data, "data", "exists already")
    refused(study.evaluate, report, "report", "exists already")


def test_reads_hides_or_is_not_taken(study):
    other = Study("other", theme="toys", config=Config, question="?")

    @other.generate
    def base(*, seeds): ...

    def nets(data, *, seeds): ...

    refused(study.train(reads={"base": base}), nets, "base", "not taken")
    refused(study.train(reads={"data": base}), nets, "data", "hides a step of this study")


def test_claims_and_figures_are_checked_too(study):
    options = {"source": "Theorem 1", "arm": "a", "control": "b"}

    def armless(data): ...

    def unknown(dat, *, arm): ...

    def field(data, *, arm, epoch): ...

    def fine(data, *, arm):
        return exact(1.0, region=(0, None))

    refused(study.claim("x", **options), armless, "arm", "missing")
    refused(study.claim("x", **options), unknown, "dat", "did you mean data?")
    refused(study.claim("x", **options), field, "epoch", "did you mean epochs?")
    message = refused(study.claim("x", decided_at="ful", **options), fine, "decided_at", "'ful'")
    assert "did you mean full?" in message
    study.claim("x", **options)(fine)
    refused(study.claim("y", **options), fine, "fine", "is the name of a claim")

    def chart(data, *, epoch): ...

    refused(study.figure("x"), chart, "epoch", "did you mean epochs?")


def test_profile_that_sets_no_field():
    class Wrong(StudyConfig):
        epochs: int = 3
        profiles: ClassVar = {"quick": {"epocs": 1}, "full": {}}

    with pytest.raises(DeclarationError, match=re.escape("'epocs'")) as caught:
        Study("wrong", theme="toys", config=Wrong, question="?")
    assert "'quick'" in str(caught.value) and "did you mean epochs?" in str(caught.value)


def test_study_without_a_step_has_no_module():
    with pytest.raises(DeclarationError, match="'empty' has no step"):
        _ = Study("empty", theme="toys", config=Config, question="?").module


def test_paper_links():
    assert (
        Paper("t", "a", 2020, arxiv="2001.1", doi="10.1/x").link == "https://arxiv.org/abs/2001.1"
    )
    assert Paper("t", "a", 2020, doi="10.1/x").link == "https://doi.org/10.1/x"
    assert Paper("t", "a", 2020).link == ""


def test_a_step_is_called_as_the_plain_function_that_it_is(study):
    @study.train
    def nets(data, *, epochs, progress, device, checkpoint):
        assert checkpoint.load() is None
        checkpoint.save({})
        assert device == "cpu"
        return data["data"].assign(epoch=len(list(progress(range(epochs), description="epochs"))))

    frame = pd.DataFrame({"seed": [4, 5]})
    for given in (frame, {"data": frame}):
        assert nets(given, epochs=2)["nets"]["epoch"].tolist() == [2, 2]
    assert nets(data=frame, epochs=3)["nets"]["epoch"].tolist() == [3, 3]
    assert repr(nets) == "<step toy/nets (train)>"
