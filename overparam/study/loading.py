"""Load what the user names: a module, a file, or an object in one.

A file is loaded under a private module name, and the current folder goes to the *end* of
``sys.path``, so that a user's ``tasks.py`` never hides a package of this project.
"""

import hashlib
import importlib
import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any

from overparam.study.sources import PRIVATE_PREFIX, split_factory


def load_module(place: str) -> ModuleType:
    """Import ``package.module`` or load ``path/to/file.py`` (once per file and content).

    Raises:
        ImportError: there is no such module, or it does not import (the cause is chained).
    """
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        raise ImportError(f"there is no file {place!r} (looked at {path})")
    content = hashlib.sha256(str(path).encode() + path.read_bytes()).hexdigest()[:12]
    name = f"{PRIVATE_PREFIX}{path.stem}_{content}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{place!r} can't be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    beside = str(path.parent)
    if beside not in sys.path:
        sys.path.append(beside)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def load_object(value: str) -> Any:
    """Load the object that ``file.py:name`` or ``package.module:name`` names.

    Raises:
        ValueError: not of that form, or the module has no such name (those it defines are listed).
        ImportError: the module is missing, or its code, which may be anybody's, raises; names the
            error and the line.
    """
    place, name = split_factory(value)
    try:
        module = load_module(place)
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).name == Path(place).name
        ]
        where = f" (line {lines[-1]})" if lines else ""
        raise ImportError(
            f"{place} does not import: {type(error).__name__}: {error}{where}"
        ) from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            own = [n for n, v in vars(module).items() if not n.startswith("_") and _own(v, module)]
            raise ValueError(f"{place} has no {name!r}; it has {', '.join(own) or 'nothing'}")
        found = getattr(found, part)
    return found


def _own(value: object, module: ModuleType) -> bool:
    """Whether a module itself made what a name of it stands for, as far as that can be told."""
    made_by = getattr(value, "__module__", module.__name__)
    return made_by == module.__name__ and not isinstance(value, ModuleType)
