import json

import pytest

from overparam.reporting import scoreboard
from overparam.reporting.scoreboard import END, START, scoreboard_markdown, update_readme

RECORDED = {
    "zebra": {"a": {"verdict": "reproduced"}, "b": {"verdict": "reproduced"}},
    "apple": {"a": {"verdict": "contradicted"}, "b": {"verdict": "void"}},
    "gone": {"a": {"verdict": "reproduced"}},
}
THEMES = {"zebra": "animals", "apple": "plants", "unrun": "plants"}


def test_scoreboard_counts_verdicts_by_theme_and_name():
    lines = scoreboard_markdown(RECORDED, THEMES).splitlines()
    assert lines[0].startswith("| study | theme | claims | ✓ reproduced | ✗ contradicted |")
    assert lines[2:] == [
        "| `zebra` | animals | 2 | 2 |  |  |  |  |",
        "| `apple` | plants | 2 |  | 1 |  |  | 1 |",
    ]
    assert len({line.count("|") for line in lines}) == 1


def test_nothing_recorded():
    assert scoreboard_markdown({}, THEMES) == "No full profile has been recorded yet."


@pytest.fixture
def verdicts(tmp_path, monkeypatch):
    file = tmp_path / "verdicts.json"
    file.write_text(json.dumps(RECORDED), encoding="utf-8")
    monkeypatch.setattr(scoreboard, "verdicts_file", lambda: file)


def test_readme_is_updated_between_its_markers(tmp_path, verdicts):
    readme = tmp_path / "README.md"
    readme.write_text(f"# été\n{START}\nold\n{END}\nrest\n", encoding="utf-8")
    assert update_readme(readme, THEMES)
    text = readme.read_text(encoding="utf-8")
    assert text.startswith(f"# été\n{START}\n| study |") and text.endswith(f"|\n{END}\nrest\n")
    assert not update_readme(readme, THEMES)


@pytest.mark.parametrize("text", ["", START, END, f"{END}{START}", f"{START}{END}{START}{END}"])
def test_readme_without_its_markers_is_refused(text, tmp_path, verdicts):
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"README\.md must have the lines"):
        update_readme(readme, THEMES)
    assert readme.read_text(encoding="utf-8") == text
