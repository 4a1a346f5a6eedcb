"""Where a store is, and what is said about a place that can't be one."""

import os
from pathlib import Path

import pytest

from overparam.store import Store, StoreError


def test_explicit_then_variable_then_checkout_then_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    inside = checkout / "docs" / "deep"
    inside.mkdir(parents=True)
    (checkout / "pyproject.toml").write_text('[project]\nname = "overparam"\n')
    monkeypatch.chdir(inside)
    monkeypatch.setenv("OVERPARAM_STORE", str(tmp_path / "variable"))
    assert Store.open(tmp_path / "given").address == str(tmp_path / "given")
    assert Store.open().address == str(tmp_path / "variable")
    monkeypatch.delenv("OVERPARAM_STORE")
    assert Store.open().address == str(checkout / "data")
    (checkout / "pyproject.toml").write_text('[project]\nname = "another"\n')
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    assert Store.open().address == str(tmp_path / "user" / "overparam")
    assert not (tmp_path / "user").exists()


def test_relative_home_and_file_addresses_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for address in ("x", "~/x", f"file://{tmp_path}/x", "./y/../x"):
        assert Store.open(address).address == str(tmp_path / "x")


def test_an_address_opens_the_same_store_again(tmp_path: Path) -> None:
    for root in (str(tmp_path), "memory://again/x"):
        assert Store.open(Store.open(root).address).root == Store.open(root).root


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match=r"is a file.*--store"):
            Store.open(place)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("foo://bar", "protocol fsspec knows"),
        ("gs://bucket/x", "pip install gcsfs"),
        (" ", "give a folder"),
        ("a\0b", "give a folder"),
    ],
)
def test_unknown_protocols_and_missing_backends(address: str, said: str) -> None:
    with pytest.raises(StoreError, match=said):
        Store.open(address)


def test_not_writable_is_said_before_any_work(tmp_path: Path) -> None:
    place = tmp_path / "readonly"
    place.mkdir()
    place.chmod(0o555)
    store = Store.open(place)
    user = os.geteuid()
    if user == 0:  # root may write anywhere: be nobody for a moment
        os.seteuid(65534)
    try:
        with pytest.raises(StoreError, match=r"can't be written to: .*--store"):
            store.check_writable()
    finally:
        os.seteuid(user)
    place.chmod(0o755)
    store.check_writable()
    assert list(place.iterdir()) == []
