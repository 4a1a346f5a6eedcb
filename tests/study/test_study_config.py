"""The knobs of a study: profiles, settings as text, what is allowed, seeds."""

from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overparam.study import ConfigError, Field, StudyConfig


class Config(StudyConfig):
    epochs: int = Field(3, ge=1, le=100, description="passes over the data")
    rate: float = Field(0.1, gt=0, lt=1, description="learning rate")
    widths: tuple[int, ...] = Field((2, 4), min_length=1, description="widths")
    ratios: list[float] = Field([1.0], description="compression")
    methods: tuple[Literal["prune", "share"], ...] = Field(("prune",), description="methods")
    names: tuple[str, ...] = Field(("a",), description="names")
    label: str = Field("x", description="a label")
    scale: Literal["small", "large"] = Field("small", description="how large")
    flag: bool = Field(False, description="on or off")
    limit: int | None = Field(None, ge=0, description="no limit, or one")
    note: str | None = Field(None, description="perhaps a note")
    grid: dict[str, float] = Field({}, description="a mapping")
    profiles: ClassVar = {"quick": {"epochs": 2}, "full": {"epochs": 50, "seeds": 10}}


class Required(StudyConfig):
    model: str = Field(description="must be said")


def test_profiles_and_overrides():
    assert Config.for_profile("quick").epochs == 2
    assert Config.for_profile("full").epochs == 50
    assert Config.for_profile("full", {"epochs": 7}).epochs == 7
    assert Config.for_profile("full").seed_values() == tuple(range(10))


def test_unknown_profile_lists_them():
    with pytest.raises(ConfigError, match=r"'fast'.*quick, full"):
        Config.for_profile("fast")


def test_unknown_field_gives_the_nearest():
    with pytest.raises(ConfigError, match=r"'epoch'; did you mean epochs\?"):
        Config.for_profile("quick", {"epoch": 1})
    with pytest.raises(ConfigError, match=r"'zzzzzz'; fields: seed, seeds, epochs"):
        Config.for_profile("quick", {"zzzzzz": 1})


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("epochs", 0, "integer >= 1, <= 100"),
        ("epochs", 101, "integer >= 1, <= 100"),
        ("epochs", "many", "integer >= 1"),
        ("epochs", 2.5, "integer >= 1"),
        ("rate", 1.0, "number > 0, < 1"),
        ("rate", float("nan"), "number > 0, < 1"),
        ("ratios", [1.0, float("inf")], "list of number"),
        ("widths", [], "at least 1 items"),
        ("widths", [1, "wide"], "list of integer"),
        ("methods", ["prine"], "one of prune, share"),
        ("scale", "middle", "one of small, large"),
        ("flag", "perhaps", "boolean"),
        ("limit", -1, "integer >= 0 or null"),
        ("seeds", 0, "integer >= 1, <= 1000"),
        ("seed", -1, "integer >= 0"),
    ],
)
def test_value_that_is_not_allowed_says_what_is(field, value, words):
    with pytest.raises(ConfigError) as caught:
        Config.for_profile("quick", {field: value})
    message = str(caught.value)
    assert message.startswith(field) and words in message and "\n" not in message
    assert "pydantic" not in message


def test_several_bad_values_are_told_at_once():
    with pytest.raises(ConfigError, match=r"epochs=0.*; rate=2"):
        Config.for_profile("quick", {"epochs": 0, "rate": 2})


def test_a_field_without_default_must_be_given():
    with pytest.raises(ConfigError, match=r"^model has no default and must be given"):
        Required.for_profile("quick")
    assert Required.describe()[-1]["default"] is None


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("epochs=7", "epochs", 7),
        ("rate=1e-2", "rate", 0.01),
        ("widths=1,2, 3", "widths", (1, 2, 3)),
        ("widths=[5, 6]", "widths", (5, 6)),
        ("widths=8", "widths", (8,)),
        ("ratios=1,2.5", "ratios", [1.0, 2.5]),
        ("methods=prune,share", "methods", ("prune", "share")),
        ("names=1,true,b", "names", ("1", "true", "b")),
        ('names=["a,b", "c"]', "names", ("a,b", "c")),
        ("label=12", "label", "12"),
        ("label=a=b", "label", "a=b"),
        ("label=[x]", "label", "[x]"),
        ("label=", "label", ""),
        ("scale=large", "scale", "large"),
        ("flag=true", "flag", True),
        ("flag=False", "flag", False),
        ("limit=none", "limit", None),
        ("limit=4", "limit", 4),
        ("note=12", "note", "12"),
        ("note=none", "note", None),
        ('grid={"a": 1.5}', "grid", {"a": 1.5}),
        ("seeds=3", "seeds", 3),
    ],
)
def test_settings_are_typed_by_the_config(setting, name, value):
    parsed, given = Config.parse_setting(setting)
    config = Config.for_profile("quick", {parsed: given})
    found = getattr(config, name)
    assert parsed == name and found == value and type(found) is type(value)


@pytest.mark.parametrize("setting", ["epochs", "=3", ""])
def test_setting_without_field_or_value(setting):
    with pytest.raises(ConfigError, match="field=value"):
        Config.parse_setting(setting)


def test_setting_of_an_unknown_field_or_of_broken_json():
    with pytest.raises(ConfigError, match=r"'epoch'; did you mean epochs\?"):
        Config.parse_setting("epoch=3")
    with pytest.raises(ConfigError, match="is not JSON"):
        Config.parse_setting("widths=[1, 2")


def test_describe_says_type_default_and_what_is_allowed():
    rows = {row["name"]: row for row in Config.describe()}
    assert list(rows) == list(Config.model_fields)
    assert set(rows["epochs"]) == {"name", "type", "default", "description", "allowed"}
    assert rows["epochs"] == {
        "name": "epochs",
        "type": "integer",
        "default": 3,
        "description": "passes over the data",
        "allowed": "integer >= 1, <= 100",
    }
    assert rows["widths"]["type"] == "list of integer" and rows["widths"]["default"] == [2, 4]
    assert rows["methods"]["allowed"] == "list of one of prune, share"
    assert rows["limit"]["type"] == "integer | null"
    assert rows["seeds"]["allowed"] == "integer >= 1, <= 1000"


@given(root=st.integers(0, 10**9), few=st.integers(1, 1000), many=st.integers(1, 1000))
def test_the_first_seeds_do_not_depend_on_how_many_there_are(root, few, many):
    few, many = sorted((few, many))
    short = StudyConfig(seed=root, seeds=few).seed_values()
    long = StudyConfig(seed=root, seeds=many).seed_values()
    assert len(short) == few and len(set(long)) == many
    assert long[:few] == short


@given(
    a=st.integers(0, 10**9), b=st.integers(0, 10**9), counts=st.tuples(*[st.integers(1, 1000)] * 2)
)
def test_two_roots_share_no_seed(a, b, counts):
    first = set(StudyConfig(seed=a, seeds=counts[0]).seed_values())
    second = set(StudyConfig(seed=b, seeds=counts[1]).seed_values())
    assert a == b or not first & second


def test_config_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Config().epochs = 4
