"""Names that become parts of a path: nothing that passes here can leave the store's root."""

import re
from dataclasses import dataclass

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}")
_KEY = re.compile(r"[0-9a-f]{8,128}")
_RESERVED = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(10)]
)
_LONGEST_TENSOR_NAME = 300


class StoreNameError(ValueError):
    """A name that a store can't use; the message names the value and what is allowed."""


def check_name(what: str, value: object) -> str:
    """Return `value` if it can name a study, step or table.

    Args:
        what: what is named, for the message ("study", "table", ...).
        value: the name; lower-case ASCII letters, digits, `-` and `_`, 1 to 80 of them, the first
            a letter or digit, and none of the device names of Windows (con, nul, com1, ...), which
            no file there may have.

    Raises:
        StoreNameError: anything else.
    """
    if not isinstance(value, str) or _NAME.fullmatch(value) is None:
        raise StoreNameError(
            f"{what} name {_shown(value)} is not allowed: 1 to 80 lower-case letters, digits, '-' "
            f"and '_', "
            "starting with a letter or digit"
        )
    if value in _RESERVED:
        raise StoreNameError(f"{what} name {value!r} is not allowed: it names a device on Windows")
    return value


def check_key(value: object) -> str:
    """Return `value` if it is a key: 8 to 128 lower-case hexadecimal digits.

    Raises:
        StoreNameError: anything else.
    """
    if not isinstance(value, str) or _KEY.fullmatch(value) is None:
        raise StoreNameError(
            f"key {_shown(value)} is not allowed: 8 to 128 lower-case hexadecimal digits"
        )
    return value


def check_tensor_name(value: object) -> str:
    """Return `value` if it can name a tensor: data in a table, so only length and NUL matter.

    Raises:
        StoreNameError: not a string, empty, longer than 300 characters, or with a NUL in it.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_TENSOR_NAME or "\0" in value:
        raise StoreNameError(
            f"tensor name {_shown(value)} is not allowed: 1 to {_LONGEST_TENSOR_NAME} characters "
            f"without NUL"
        )
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}... ({len(text)} characters)"


@dataclass(frozen=True, order=True)
class ArtifactRef:
    """The address of an artifact: `study/step/key`.

    Raises:
        StoreNameError: a part that isn't allowed (`check_name`, `check_key`).
    """

    study: str
    step: str
    key: str

    def __post_init__(self) -> None:
        check_name("study", self.study)
        check_name("step", self.step)
        check_key(self.key)

    def __str__(self) -> str:
        return f"{self.study}/{self.step}/{self.key}"
