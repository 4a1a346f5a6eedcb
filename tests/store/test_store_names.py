"""Names can't leave the root."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overparam.store import ArtifactRef, Store, StoreNameError, check_name, check_tensor_name

KEY = "0123456789abcdef"
BAD = [
    "", ".", "..", "../x", "a/b", "/etc", "a\\b", "a\0b", "A", "-a", "_a", ".a", "a.b", "a b",
    "a\n",
    "con", "nul", "prn", "aux", "com1", "lpt9", "é", "٣", "a" * 81, "x" * 300, None, 3, b"a",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_bad_names_are_refused_by_value(bad: object) -> None:
    for study, step in ((bad, "step"), ("study", bad)):
        with pytest.raises(StoreNameError, match="not allowed"):
            ArtifactRef(study, step, KEY)
    with pytest.raises(StoreNameError, match="table name"):
        check_name("table", bad)


@pytest.mark.parametrize(
    "bad", ["", "../x", "abc", "ABCDEF01", "g" * 8, "a" * 129, "00000000\n", None]
)
def test_bad_keys_are_refused(bad: object) -> None:
    with pytest.raises(StoreNameError, match="hexadecimal"):
        ArtifactRef("study", "step", bad)


@pytest.mark.parametrize("good", ["a", "0", "parameter-sharing", "a_b", "console", "a" * 80])
def test_good_names_are_kept(good: str) -> None:
    assert str(ArtifactRef(good, good, KEY)) == f"{good}/{good}/{KEY}"


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=140))
def test_whatever_passes_lies_below_the_root(study: str, step: str, key: str) -> None:
    root = Path("/some/root")
    try:
        ref = ArtifactRef(study, step, key)
    except StoreNameError:
        return
    folder = Store.open(root).folder(ref)
    assert Path(str(folder)).resolve().relative_to(root.resolve()).parts == (
        "artifacts",
        study,
        step,
        key,
    )


@given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,79}", fullmatch=True))
def test_the_alphabet_is_allowed(name: str) -> None:
    reserved = {"con", "prn", "aux", "nul"} | {f"{p}{n}" for p in ("com", "lpt") for n in range(10)}
    if name not in reserved:
        assert check_name("study", name) == name


def test_tensor_names_are_data() -> None:
    assert check_tensor_name("../layer.0/weight é") == "../layer.0/weight é"
    for bad in ("", "a\0", "x" * 301, 3):
        with pytest.raises(StoreNameError, match="tensor name"):
            check_tensor_name(bad)
    assert check_tensor_name("x" * 300)
