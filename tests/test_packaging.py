"""The project as a stranger gets it: the lock file, the wheel, the lower bound on Python."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in pins}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, timeout=250)
    (built,) = folder.glob("*.whl")
    return built


def test_lock_pins_everything_exactly_and_names_no_registry():
    text = (ROOT / "requirements.lock").read_text()
    body = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!_-]+", line) for line in body)
    assert "://" not in text and "--" not in "".join(body)


def test_lock_holds_every_dependency_and_extra():
    wanted = [*PROJECT["dependencies"]]
    for extra in PROJECT["optional-dependencies"].values():
        wanted += extra
    pins = locked()
    for line in wanted:
        requirement = Requirement(line)
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked"
        assert requirement.specifier.contains(version, prereleases=True), line


def test_lock_has_the_versions_that_were_asked_for():
    assert locked()["torch"] == "2.13.0" and locked()["prefect"] == "3.9.1"


def test_wheel_ships_packages_samples_and_verdicts(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "flows/cli/app.py",
        "tasks/stages.py",
        "overparam/py.typed",
        "overparam/studies/compression/parameter_sharing.py",
        "overparam/reporting/templates/page.html.jinja",
        "overparam/_data/samples/digits.parquet",
        "overparam/_data/samples/breast-cancer.parquet",
        "overparam/_data/verdicts.json",
    } <= names
    assert not [name for name in names if name.startswith(("tests/", "data/"))]


def test_wheel_lists_studies_from_another_folder(wheel, tmp_path):
    venv.create(tmp_path / "env", with_pip=False)
    python = tmp_path / "env" / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "env")}))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    # Dependencies come from this environment, after the new one's own packages.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    script = (
        "import overparam, sys; print(overparam.__file__); sys.argv = ['overparam', 'list']; "
        "from flows.cli import main; main()"
    )
    ran = subprocess.run(
        [python, "-c", script],
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    place, *lines = ran.stdout.splitlines()
    assert Path(place).is_relative_to(tmp_path)
    assert any("parameter-sharing" in line for line in lines)


def test_make_refuses_an_old_python(tmp_path):
    old = tmp_path / "python"
    # Stands for an old interpreter: the check itself runs on a false version.
    old.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 10); '
        'exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "requirements.lock").touch()
    (tmp_path / "pyproject.toml").touch()
    ran = subprocess.run(
        ["make", "check", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert ran.returncode != 0 and "needs Python 3.11 or newer" in ran.stderr
    assert not (tmp_path / ".venv").exists()


def test_newer_pythons_are_not_forbidden():
    assert PROJECT["requires-python"] == ">=3.11"
