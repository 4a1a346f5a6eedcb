"""Which studies there are is read from the syntax tree; third parties add theirs."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import overparam
from overparam.errors import DeclarationError, MissingExtra, UnknownStudyError
from overparam.studies import catalogue, declaration, entries, find, load, load_from
from overparam.studies.catalogue import read_entry

TOYS = Path(__file__).parent.parent / "toys"

THIRD_PARTY = '''
"""A study of another package."""

import pandas as pd

from overparam.study import Paper, Study, StudyConfig

study: Study = Study(
    "elsewhere",
    theme="abroad",
    config=StudyConfig,
    question="Is it found?",
    paper=Paper(title="On Elsewhere", authors="A. Far", year=2020),
)


@study.generate
def rows(*, seeds):
    return pd.DataFrame({"seed": seeds})
'''


@pytest.fixture
def fresh(monkeypatch):
    """The catalogue and the import system forget what a test installed, before it and after."""

    def forget():
        catalogue.entries.cache_clear()
        importlib.invalidate_caches()
        for name in [name for name in sys.modules if name.startswith("third_party_toys")]:
            del sys.modules[name]

    forget()
    yield monkeypatch
    forget()


def installed(folder, value="third_party_toys.elsewhere:study", text=THIRD_PARTY):
    """A package with a study and the entry point that names it, as pip leaves them."""
    package = folder / "third_party_toys"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "elsewhere.py").write_text(text)
    info = folder / "third_party_toys-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third_party_toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[overparam.studies]\nelsewhere = {value}\n")
    return folder


def test_every_study_is_found_by_name_and_has_what_list_shows():
    names = [entry.study for entry in entries()]
    assert "parameter-sharing" in names and len(set(names)) == len(names)
    for entry in entries():
        assert entry.file.is_file() and entry.question
        assert entry.theme == entry.file.parent.name
        assert set(entry.profiles) == {"quick", "full"}
        assert find(entry.study) is entry
        if entry.paper:
            assert {"title", "authors", "year"} <= set(entry.paper) and entry.claims


def test_what_is_read_is_what_is_declared():
    entry = find(str(TOYS / "coin.py"))
    study = load(str(TOYS / "coin.py"))
    assert (entry.study, entry.theme, entry.question) == (study.name, study.theme, study.question)
    assert entry.claims == tuple(claim.title for claim in study.claims)
    assert entry.profiles == tuple(study.config.profiles)
    assert entry.paper["venue"] == study.paper.venue == "Ars Conjectandi"


def test_a_study_of_another_package_is_found_loaded_and_run(tmp_path, fresh):
    fresh.syspath_prepend(str(installed(tmp_path)))
    entry = find("elsewhere")
    assert entry.module == "third_party_toys.elsewhere" and entry.theme == "abroad"
    assert "third_party_toys.elsewhere" not in sys.modules  # read, not imported
    results = load("elsewhere").run(tmp_path / "store")
    assert results.ok and len(results.tables("rows")["rows"]) == 5


def test_its_code_counts(tmp_path):
    installed(tmp_path)
    code = (
        "from overparam.studies import load\n"
        "plan = load('elsewhere').plan()\n"
        "print(plan.key(plan.cells[0]), *plan.fingerprint(plan.cells[0].step).parts)\n"
    )
    root = Path(overparam.__file__).parent.parent
    keys = []
    for text in (THIRD_PARTY, THIRD_PARTY.replace('"seed": seeds', '"seed": seeds[::-1]')):
        (tmp_path / "third_party_toys" / "elsewhere.py").write_text(text)
        done = subprocess.run(
            [sys.executable, "-B", "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=240,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        key, *parts = done.stdout.split()
        assert "third_party_toys.elsewhere:rows" in parts
        keys.append(key)
    assert keys[0] != keys[1]


@pytest.mark.parametrize(
    ("value", "text", "words"),
    [
        (
            "third_party_toys.nothing:study",
            THIRD_PARTY,
            "there is no module third_party_toys.nothing",
        ),
        ("no_such_package.x:study", THIRD_PARTY, "there is no module no_such_package.x"),
        ("third_party_toys.elsewhere:study", "x = 1\n", "declares no Study"),
        ("third_party_toys.elsewhere:study", "def broken(:\n", "invalid syntax"),
    ],
)
def test_an_entry_point_that_names_none(tmp_path, fresh, value, text, words):
    fresh.syspath_prepend(str(installed(tmp_path, value, text)))
    with pytest.raises(DeclarationError, match=words):
        entries()


def test_two_studies_of_one_name(tmp_path, fresh):
    text = THIRD_PARTY.replace('"elsewhere"', '"parameter-sharing"')
    fresh.syspath_prepend(str(installed(tmp_path, text=text)))
    with pytest.raises(DeclarationError, match=r"'parameter-sharing' is declared in .* and in "):
        entries()


def test_unknown_names_give_the_nearest():
    with pytest.raises(UnknownStudyError, match=r"did you mean parameter-sharing\?"):
        find("parameter-sharng")
    with pytest.raises(UnknownStudyError, match=r"studies: .*parameter-sharing"):
        find("zzzz")
    with pytest.raises(UnknownStudyError, match=r"no study file 'no.py' \(looked at /"):
        find("no.py")
    with pytest.raises(UnknownStudyError, match="declares no Study"):
        find(__file__)


def test_a_missing_extra_is_told_before_the_import_fails():
    entry = find(str(TOYS / "extra.py"))
    assert not entry.available and entry.missing == ("no-such-extra",)
    with pytest.raises(MissingExtra, match=r"pip install 'overparam\[no-such-extra\]'"):
        load(str(TOYS / "extra.py"))


def test_an_extra_counts_by_the_packages_that_it_installs(monkeypatch):
    lines = ["numpy>=1", 's3fs>=2; extra == "s3"', 'not-a-package-1; extra == "dev"']
    monkeypatch.setattr(catalogue, "requires", lambda _: lines)
    monkeypatch.setattr(catalogue, "version", lambda name: {"s3fs": "2.0", "numpy": "2"}[name])
    assert catalogue._extra_installed("s3")
    monkeypatch.undo()
    monkeypatch.setattr(catalogue, "requires", lambda _: lines)
    assert not catalogue._extra_installed("dev")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"coin",\n', "NAME,\n", r"coin.py:\d+: NAME must be a literal"),
        ('title="On Coins"', "title=f'On {x}'", "must be a literal"),
        ('    theme="toys",\n', "", r"coin.py:\d+: Study\(...\) lacks theme="),
        ('"A loaded coin shows more heads"', "TITLE", "TITLE must be a literal"),
    ],
)
def test_what_is_no_literal_is_refused(tmp_path, old, new, words):
    text = (TOYS / "coin.py").read_text()
    assert old in text
    file = tmp_path / "coin.py"
    file.write_text(text.replace(old, new))
    with pytest.raises(DeclarationError, match=words):
        read_entry(file, "coin")


def test_a_file_without_a_study_of_that_name():
    with pytest.raises(DeclarationError, match="has no study 'other'"):
        load_from(str(TOYS / "coin.py"), "other")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder of its own for what is kept of study files."""
    folder = tmp_path / "kept"
    monkeypatch.setattr(declaration, "cache_folder", lambda: folder)
    return folder


def test_what_is_kept_equals_what_is_read(kept):
    files = sorted(Path(catalogue.__file__).parent.glob("*/*.py"))
    fresh = [read_entry(file, "m") for file in files]
    assert any(fresh) and len(list(kept.rglob("*.json"))) == len(files)

    def parsed(*_, **__):
        raise AssertionError("parsed again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(declaration, "parse", parsed)
        assert [read_entry(file, "m") for file in files] == fresh


def test_an_edit_is_seen_and_a_damaged_entry_made_anew(kept, tmp_path):
    file = tmp_path / "elsewhere.py"
    file.write_text(THIRD_PARTY)
    status = file.stat()
    entry = read_entry(file, "m")
    file.write_text(THIRD_PARTY.replace("elsewhere", "somewhere"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read_entry(file, "m").study == "somewhere"
    file.write_text(THIRD_PARTY)
    for damage in ("", "{", "[1]", '{"study": "elsewhere"}', "\udcff"):
        for saved in kept.rglob("*.json"):
            saved.write_bytes(damage.encode("utf-8", "surrogateescape"))
        assert read_entry(file, "m") == entry


def test_what_json_would_change_is_not_kept(kept, tmp_path):
    file = tmp_path / "elsewhere.py"
    file.write_text(THIRD_PARTY.replace('"A. Far"', '("A. Far", "B. Near")'))
    for _ in range(2):
        assert read_entry(file, "m").paper["authors"] == ("A. Far", "B. Near")
    assert not list(kept.rglob("*.json"))


def test_a_folder_that_cannot_be_written_is_done_without(kept, tmp_path):
    kept.write_text("a file in its place")
    file = tmp_path / "elsewhere.py"
    file.write_text(THIRD_PARTY)
    assert read_entry(file, "m").study == "elsewhere"
