import platformdirs
import pytest
import vl_convert

from overparam.reporting import vega


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    made = []

    def bundle(snippet):
        made.append(snippet)
        return "// bundle"

    monkeypatch.setattr(vl_convert, "javascript_bundle", bundle)
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: tmp_path / "cache")
    return made


def test_bundle_is_made_once_and_kept(bundled, tmp_path):
    make = vega.vega_bundle.__wrapped__
    assert make() == make() == "// bundle"
    assert bundled == ["window.vegaEmbed = vegaEmbed;"]
    (kept,) = tmp_path.rglob("*.js")
    assert kept.read_text() == "// bundle"
    assert not list(tmp_path.rglob("*.tmp"))


def test_folder_that_cannot_be_made_is_done_without(bundled, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert vega.vega_bundle.__wrapped__() == "// bundle"


def test_bundle_holds_the_interpreter():
    script = vega.vega_bundle()
    assert "expressionInterpreter" in script and "vegaEmbed" in script
