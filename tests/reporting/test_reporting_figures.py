import altair as alt
import pandas as pd
import pytest

from overparam.reporting.figures import specification

FRAME = pd.DataFrame({"x": [1, 2], "y": [3, 4]})


def test_specification_holds_its_data_and_no_theme():
    spec = specification(alt.Chart(FRAME).mark_point().encode(x="x", y="y"))
    assert list(spec["datasets"].values()) == [FRAME.to_dict("records")]
    assert "config" not in spec


def test_author_settings_stay():
    chart = alt.Chart(FRAME).mark_point().encode(x="x").configure_point(size=7)
    assert specification(chart)["config"] == {"point": {"size": 7}}


def test_many_rows_are_no_error_here():
    frame = pd.DataFrame({"x": range(6000)})
    spec = specification(alt.Chart(frame).mark_point().encode(x="x"))
    assert len(next(iter(spec["datasets"].values()))) == 6000


@pytest.mark.parametrize("nest", [lambda c: c, lambda c: alt.layer(c), lambda c: alt.hconcat(c)])
def test_data_from_elsewhere_are_refused(nest):
    chart = alt.Chart("https://example.org/data.csv").mark_point().encode(x="x:Q")
    with pytest.raises(ValueError, match=r"must be a data frame, not .*example\.org"):
        specification(nest(chart))


def test_what_is_no_chart_is_refused():
    with pytest.raises(TypeError, match="must return an Altair chart, not DataFrame"):
        specification(FRAME)


def test_figure_that_raises_leaves_the_others(tmp_path, page_maker):
    from overparam.store import Store
    from overparam.studies import load

    file = tmp_path / "two.py"
    file.write_text(
        "import pandas as pd\n"
        "from overparam.study import Study, StudyConfig\n"
        "class Config(StudyConfig):\n    pass\n"
        "study = Study('two', theme='toys', config=Config, question='?')\n"
        "@study.generate\ndef rows(*, seed):\n    return pd.DataFrame({'x': [1, 2]})\n"
        "@study.figure('Bad')\ndef bad(rows):\n    raise KeyError('<no such>')\n"
        "@study.figure('Good')\ndef good(rows):\n    import altair as alt\n"
        "    return alt.Chart(rows['rows']).mark_point().encode(x='x')\n"
    )
    made = page_maker(load(str(file)), Store.open(tmp_path / "store"))
    assert made.report.record.state == "failed"
    assert "figure Bad: KeyError: '<no such>'" in made.report.record.error
    assert "This figure could not be drawn: KeyError: '<no such>'" in made.document.text
    assert len(made.document.all("img")) == 1
