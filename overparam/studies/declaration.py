"""What a study file declares, read from its syntax tree without importing it, and kept on disk."""

import ast
import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from overparam.errors import DeclarationError
from overparam.fingerprint import default_cache_folder, keep_entry, parse


def cache_folder() -> Path:
    """The folder of the user's machine where declarations are kept, beside the fingerprints'."""
    return default_cache_folder().with_name("catalogue")


def declared(file: Path) -> dict[str, Any] | None:
    """The literals of ``Study(...)``, ``Paper(...)`` and claims: ``study``, ``theme``,
    ``question``, ``paper``, ``profiles``, ``extras``, ``claims``; None where there is no study.

    Kept by the content of the file, in JSON, where they come back from it as they were. What is
    kept and can't be read is made anew; a folder that can't be written is done without.

    Raises:
        DeclarationError: the file does not parse, or a literal is not one.
    """
    source = file.read_bytes()
    entry = cache_folder() / _version() / f"{hashlib.sha256(source).hexdigest()}.json"
    try:
        return _checked(json.loads(entry.read_bytes()))
    except (OSError, ValueError):
        pass  # none yet, or damaged
    found = _read(source, file)
    text = json.dumps(found, default=str)
    if json.loads(text) == found:
        keep_entry(entry, text)
    return found


@functools.cache
def _version() -> str:
    """Names the form of what is kept by the code that makes it."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


FIELDS = {
    "study": str,
    "theme": str,
    "question": str,
    "paper": dict,
    "profiles": list,
    "extras": list,
    "claims": list,
}


def _checked(kept: Any) -> dict[str, Any] | None:
    if kept is None:
        return None
    if not isinstance(kept, dict) or {n: type(v) for n, v in kept.items()} != FIELDS:
        raise ValueError("not what is kept of a study")
    return kept


def _read(source: bytes, file: Path) -> dict[str, Any] | None:
    try:
        tree = parse(source.decode("utf-8"), filename=str(file))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{file}: {error}") from error
    call = next(
        (
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            and node.value is not None
            and _called(node.value) == "Study"
        ),
        None,
    )
    if not isinstance(call, ast.Call):
        return None
    arguments = {kw.arg: kw.value for kw in call.keywords if kw.arg}
    if call.args:
        arguments["name"] = call.args[0]
    for name in ("name", "theme", "question"):
        if name not in arguments:
            raise DeclarationError(f"{file}:{call.lineno}: Study(...) lacks {name}=")
    paper = arguments.get("paper")
    claims = [
        _literal(decorator.args[0], file)
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and decorator.args and _called(decorator) == "claim"
    ]
    return {
        "study": _literal(arguments["name"], file),
        "theme": _literal(arguments["theme"], file),
        "question": _literal(arguments["question"], file),
        "paper": _keywords(paper, file) if isinstance(paper, ast.Call) else {},
        "profiles": _profiles(tree),
        "extras": list(_literal(arguments["extras"], file)) if "extras" in arguments else [],
        "claims": claims,
    }


def _called(node: ast.expr) -> str:
    """The last name of what a call calls: ``Study`` of ``study.Study(...)``."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _literal(node: ast.expr, file: Path) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise DeclarationError(
            f"{file}:{node.lineno}: {ast.unparse(node)} must be a literal, so that `overparam "
            "list` can read it without importing the study"
        ) from None


def _keywords(call: ast.Call, file: Path) -> dict[str, Any]:
    return {kw.arg: _literal(kw.value, file) for kw in call.keywords if kw.arg}


def _profiles(tree: ast.Module) -> list[str]:
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    for node in (statement for made in classes for statement in made.body):
        if not isinstance(node, ast.AnnAssign) or getattr(node.target, "id", "") != "profiles":
            continue
        if isinstance(node.value, ast.Dict):
            keys = [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
            return [str(key) for key in keys]
    return ["quick", "full"]
