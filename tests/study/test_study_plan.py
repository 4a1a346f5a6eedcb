"""The cells of a run, how they align, and what their keys depend on."""

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overparam.studies import load
from overparam.study import ConfigError, make_plan

TOYS = Path(__file__).parent.parent / "toys"


@pytest.fixture(scope="module")
def coin():
    return load(str(TOYS / "coin.py"))


@pytest.fixture(scope="module")
def cells():
    return load(str(TOYS / "cells.py"))


def keys(plan):
    """The key of every cell, by step and cell."""
    return {(c.step.name, tuple(c.values.items())): plan.key(c) for c in plan.cells}


def changed(before, after):
    """The steps of the cells that both have under different keys."""
    return {cell[0] for cell in before.keys() & after.keys() if before[cell] != after[cell]}


def test_cells_align_on_the_names_that_both_have(cells):
    plan = make_plan(cells, "quick", {"seeds": 2})
    by_step = {name: plan.cells_of(step) for name, step in cells.steps.items()}
    assert [dict(c.values) for c in by_step["nets"]] == [
        {"width": 2, "depth": 1},
        {"width": 3, "depth": 1},
        {"width": 2, "depth": 2},
    ]
    # not spread over what it reads: all of it
    assert all(c.inputs["data"] == tuple(by_step["data"]) for c in by_step["nets"])
    for cell in by_step["scores"]:
        (data,) = cell.inputs["data"]
        assert data.values["seed"] == cell.values["seed"]
        widths = [net.values["width"] for net in cell.inputs["nets"]]
        assert widths == [cell.values["width"]] * (2 if cell.values["width"] == 2 else 1)


def test_names_of_cells_and_units(coin):
    plan = make_plan(coin, "quick", {"seeds": 4})
    assert [unit.name for unit in plan.units][:4] == [
        "generate · coin · chances",
        "train · coin · flipped · coin=loaded · seed=0,1,2",
        "train · coin · flipped · coin=loaded · seed=3",
        "train · coin · flipped · coin=fair · seed=0,1,2",
    ]
    assert plan.units[-2].name == "compress · coin · shortened · coin=fair · seed=3"


@settings(max_examples=20)
@given(seeds=st.integers(1, 11), coins=st.sampled_from([("a",), ("a", "b"), ("c", "b", "a")]))
def test_batches_hold_every_cell_once_and_differ_in_the_batched_name_alone(coin, seeds, coins):
    plan = make_plan(coin, "quick", {"seeds": seeds, "coins": coins})
    units = [unit for unit in plan.units if unit.step.name == "flipped"]
    inside = [cell for unit in units for cell in unit.cells]
    assert inside == plan.cells_of(coin.steps["flipped"]) and len(inside) == seeds * len(coins)
    for unit in units:
        assert 1 <= len(unit.cells) <= 3
        assert len({cell.values["coin"] for cell in unit.cells}) == 1
        values = plan.values(unit.step, unit.cells)
        assert values["seeds"] == tuple(cell.values["seed"] for cell in unit.cells)
        assert "seed" not in values


def test_an_evaluation_knob_changes_the_keys_of_the_evaluation_alone(cells):
    before = keys(make_plan(cells, "quick"))
    assert changed(before, keys(make_plan(cells, "quick", {"noise": 0.25}))) == {"scores"}


def test_a_training_knob_changes_what_reads_it_and_what_comes_after(coin):
    before = keys(make_plan(coin, "quick"))
    after = keys(make_plan(coin, "quick", {"flips": 60}))
    assert changed(before, after) == {"flipped", "shortened", "shares"}
    after = keys(make_plan(coin, "quick", {"keep": 10}))
    assert changed(before, after) == {"shortened", "shares"}
    after = keys(make_plan(coin, "quick", {"bias": 0.8}))
    assert changed(before, after) == {"chances", "flipped", "shortened", "shares"}


@settings(max_examples=15)
@given(few=st.integers(1, 8), more=st.integers(1, 8), root=st.integers(0, 3))
def test_more_seeds_leave_the_old_keys(coin, few, more, root):
    before = keys(make_plan(coin, "quick", {"seed": root, "seeds": few}))
    after = keys(make_plan(coin, "quick", {"seed": root, "seeds": few + more}))
    assert changed(before, after) == {"shares"}
    assert len(after) == len(before) + 4 * more
    assert len(set(after.values())) == len(after)


def test_the_lists_of_the_grid_are_in_no_key(coin, cells):
    before = keys(make_plan(coin, "quick"))
    after = keys(make_plan(coin, "quick", {"coins": ("fair", "loaded", "bent")}))
    assert changed(before, after) == {"shares"}
    before, after = keys(make_plan(cells, "quick")), keys(make_plan(cells, "full"))
    assert not changed(before, after) and len(after) > len(before)


def test_the_profile_is_not_in_the_key(coin):
    quick = keys(make_plan(coin, "quick"))
    assert quick == keys(make_plan(coin, "full", {"flips": 50}))


def test_reserved_names_are_not_in_the_key(tmp_path):
    """Taking ``progress``, ``device`` or ``checkpoint`` is code, their values are not."""
    study = load(str(TOYS / "resume.py"))
    plan = make_plan(study)
    parts = plan.key_parts(plan.cells[0])
    assert set(parts) == {"study", "step", "stage", "config", "cell", "upstream", "code"}
    assert set(parts["config"]) == {"steps", "stop_file", "seeds"}


def test_a_partial_reader_holds_the_cells_that_it_saw():
    study = load(str(TOYS / "trouble.py"))
    plan = make_plan(study)
    (survivors,) = plan.cells_of(study.steps["survivors"])
    (complete,) = plan.cells_of(study.steps["complete"])
    whole = plan.key(survivors)
    first, second, third = plan.cells_of(study.steps["mishap"])
    plan.lose(second)
    assert plan.key(survivors) != whole
    assert plan.key_parts(survivors)["upstream"] == {"mishap": [plan.key(first), plan.key(third)]}
    assert plan.readable(survivors) and plan.readable(complete)
    (strict,) = (c for c in plan.cells_of(study.steps["strict"]) if c.inputs["mishap"] == (second,))
    assert not plan.readable(strict)
    plan.lose(strict)
    assert not plan.readable(complete)
    plan.lose(first)
    plan.lose(third)
    assert not plan.readable(survivors)
    # a run whose grid never had the cell reads the same, and has the same key
    without = make_plan(study, "quick", {"hows": ("fine", "well")})
    again = make_plan(study)
    again.lose(again.cells_of(study.steps["mishap"])[1])
    (a,), (b,) = (
        without.cells_of(study.steps["survivors"]),
        again.cells_of(study.steps["survivors"]),
    )
    assert without.key(a) == again.key(b)


def test_a_shared_base_keeps_its_own_keys_and_follows_the_seeds():
    reader = load(str(TOYS / "reader.py"))
    plan = make_plan(reader, "quick", {"seeds": 2, "seed": 1, "shift": 3.0})
    step = reader.steps["tuned"].inputs["pretrained"]
    base = make_plan(step.owner, "quick", {"seeds": 2, "seed": 1})
    assert [plan.ref(c) for c in plan.cells_of(step)] == [base.ref(c) for c in base.cells]
    assert {c.values["seed"] for c in plan.cells_of(step)} == {1000, 1001}
    assert all(plan.ref(c).study == "toy-base" for c in plan.cells_of(step))
    order = [cell.step for cell in plan.cells]
    assert order.index(step) < order.index(reader.steps["tuned"])
    other = make_plan(reader, "quick", {"seeds": 2, "seed": 1, "shift": 4.0})
    assert changed(keys(plan), keys(other)) == {"tuned", "gains"}


@pytest.mark.parametrize(
    ("old", "new", "steps"),
    [
        ('"""A toy study of all five', '"""Another docstring of all five', set()),
        ("import time\n", "# a comment\nimport time\n", set()),
        ("region=(0.1, None)", "region=(0.2, None)", set()),
        ('mark_point().encode(x="coin:N"', 'mark_bar().encode(x="coin:N"', set()),
        (".head(keep)", ".tail(keep)", {"shortened", "shares"}),
        ("random(flips) < chance", "random(flips) <= chance", {"flipped", "shortened", "shares"}),
        (
            '"chance": [bias, 0.5]',
            '"chance": [bias, 0.4]',
            {"chances", "flipped", "shortened", "shares"},
        ),
    ],
)
def test_edits_of_a_study_file(tmp_path, coin, old, new, steps):
    text = (TOYS / "coin.py").read_text()
    assert old in text
    copies = []
    for name, content in (("a", text), ("b", text.replace(old, new))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "coin.py").write_text(content)
        copies.append(keys(make_plan(load(str(tmp_path / name / "coin.py")))))
    assert copies[0] == keys(make_plan(coin))  # a moved file keeps its keys
    assert changed(*copies) == steps


def test_a_helper_beside_a_study_file_counts(tmp_path):
    for name in ("reader.py", "toy_base.py"):
        shutil.copy(TOYS / name, tmp_path)
    text = (tmp_path / "toy_base.py").read_text()
    reader = (tmp_path / "reader.py").read_text().replace("toy_base", "a_base_of_this_test")
    (tmp_path / "reader.py").write_text(reader)
    (tmp_path / "a_base_of_this_test.py").write_text(text)
    before = keys(make_plan(load(str(tmp_path / "reader.py"))))
    (tmp_path / "a_base_of_this_test.py").write_text(text.replace("seed * 10", "seed * 20"))
    after = keys(make_plan(load(str(tmp_path / "reader.py"))))
    assert changed(before, after) == {"pretrained", "tuned", "gains"}


def test_a_step_function_of_another_module_counts_where_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "shared_steps_of_this_test.py").write_text(
        "import pandas as pd\n\n\ndef rows(*, seeds):\n    return pd.DataFrame({'seed': seeds})\n"
    )
    study = (
        "import shared_steps_of_this_test\n"
        "from overparam.study import Study, StudyConfig\n"
        "study = Study('shared', theme='toys', config=StudyConfig, question='?')\n"
        "rows = study.generate(shared_steps_of_this_test.rows)\n"
    )
    (tmp_path / "shared.py").write_text(study)
    plan = make_plan(load(str(tmp_path / "shared.py")))
    assert "shared_steps_of_this_test:rows" in plan.fingerprint(plan.cells[0].step).parts


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"coins": []}, "coins x seeds, over which 'flipped' is spread, must not be empty"),
        ({"coins": ["fair", "loaded", "fair"]}, "twice there is coin='fair', seed=0"),
    ],
)
def test_a_grid_that_is_empty_or_lists_a_cell_twice(coin, overrides, words):
    with pytest.raises(ConfigError) as caught:
        _ = make_plan(coin, "quick", overrides).cells
    assert words in str(caught.value)


def test_a_large_data_file_is_read_once_for_all_cells(tmp_path, monkeypatch):
    from overparam.study.sources import FileContent

    study = load(str(TOYS / "content.py"))
    file = tmp_path / "data.csv"
    file.write_text("a\n")
    read = []
    digest = FileContent.digest
    monkeypatch.setattr(FileContent, "digest", lambda self, v: read.append(v) or digest(self, v))
    plan = make_plan(study, "quick", {"data": str(file)})
    for cell in plan.cells * 5:
        plan.key_parts(cell)
    assert read == [str(file)]
