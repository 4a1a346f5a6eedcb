"""Code that cannot be followed from its source, refused in the library."""

import ast
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from overparam.fingerprint._errors import FingerprintError
from overparam.fingerprint._imports import imported_names

_REFUSED_CALLS = {
    "exec": "runs code that is made at run time",
    "eval": "runs code that is made at run time",
    "__import__": "imports a module by a computed name",
    "globals": "reads or writes names of the module that do not stand in the source",
}
_REFUSED_NAMES = {
    **{f"builtins.{name}": why for name, why in _REFUSED_CALLS.items()},
    "importlib.import_module": "imports a module by a computed name",
    "importlib.__import__": "imports a module by a computed name",
    "importlib.reload": "runs a module again",
    "importlib.util.module_from_spec": "imports a module by a computed name",
    "importlib.util.spec_from_file_location": "imports a module by a computed name",
    "importlib.machinery": "imports a module by a computed name",
    "runpy": "runs code by a computed name",
    "pkgutil": "finds modules at run time",
    "sys.modules": "reads or writes modules by a computed name",
}
_NAMESPACES = ("vars", "locals", "globals")


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that cannot be followed; ``what`` is ``"construct: why"``."""

    file: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


def lint(
    paths: Iterable[Path], *, allowed: Mapping[str, Collection[str]] | None = None
) -> list[Problem]:
    """List what a fingerprint cannot follow in packages or single files, sorted by file and line.

    Args:
        paths: folders of packages, or files; their names are those under which they are imported.
        allowed: file, as ``"package/sub/module.py"`` -> constructs that may stand in it:
            ``{"overparam/studies/loading.py": ["importlib.import_module"]}``.

    Raises:
        FingerprintError: a file is not valid Python.
        ValueError: a path does not exist, or ``allowed`` names a file that is not there.
    """
    allowed = dict(allowed or {})
    roots = [Path(path) for path in paths]
    for root in roots:
        if not root.exists():
            raise ValueError(f"paths: {str(root)!r} is neither a folder nor a file")
    problems: list[Problem] = []
    known: set[str] = set()
    modules = {name for root in roots for name in _modules(root)}
    for root in roots:
        for file in sorted(root.rglob("*.py")) if root.is_dir() else [root]:
            relative = file.relative_to(root.parent)
            known.add(relative.as_posix())
            package = ".".join(relative.parent.parts)
            found = _Lint(file, package, modules).problems()
            permitted = allowed.get(relative.as_posix(), ())
            problems += [p for p in found if p.what.partition(":")[0] not in permitted]
    if missing := sorted(allowed.keys() - known):
        raise ValueError(
            f"allowed: {missing} are not among the files of {[str(root) for root in roots]}"
        )
    return sorted(problems, key=lambda problem: (str(problem.file), problem.line, problem.what))


def _modules(root: Path) -> Iterator[str]:
    files = root.rglob("*.py") if root.is_dir() else [root]
    for file in files:
        parts = file.relative_to(root.parent).with_suffix("").parts
        name = parts[:-1] if parts[-1] == "__init__" else parts
        yield from (".".join(name[:end]) for end in range(1, len(name) + 1))


class _Lint(ast.NodeVisitor):
    def __init__(self, file: Path, package: str, modules: Collection[str]) -> None:
        self._file = file
        self._modules = modules
        self._found: set[Problem] = set()
        self._depth = 0
        try:
            self._tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            raise FingerprintError(f"{file}:{line}: not valid Python: {error}") from None
        self._imports: dict[str, str] = {}
        self._whole: set[str] = set()  # names that are modules for certain: `import a as b`
        for node in ast.walk(self._tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name, (module, attribute) in imported_names(node, package):
                    self._imports[name] = f"{module}.{attribute}" if attribute else module
                    if not attribute:
                        self._whole.add(name)

    def problems(self) -> set[Problem]:
        """Find all problems of the file."""
        self.visit(self._tree)
        return self._found

    def _refuse(self, node: ast.AST, construct: str, why: str) -> None:
        self._found.add(Problem(self._file, getattr(node, "lineno", 1), f"{construct}: {why}"))

    # what an expression stands for ---------------------------------------------------------------

    def _dotted(self, node: ast.expr) -> str | None:
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        if isinstance(node, ast.Name) and node.id in self._imports:
            return ".".join([self._imports[node.id], *parts])
        return None

    def _is_own_module(self, node: ast.expr) -> bool:
        return self._dotted(node) in self._modules

    def _is_module(self, node: ast.expr) -> bool:
        return self._is_own_module(node) or (isinstance(node, ast.Name) and node.id in self._whole)

    # statements ----------------------------------------------------------------------------------

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if not self._depth and node.name == "__getattr__":
            self._refuse(node, "__getattr__", "of a module makes names at run time")
        self._nested(node)

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def _nested(self, node: ast.AST) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    visit_ClassDef = visit_Lambda = _nested

    def visit_Global(self, node: ast.Global) -> None:
        self._refuse(node, "global", f"rebinds {', '.join(node.names)} at run time")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._check_dotted(node, f"{node.module}.{alias.name}")

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._check_dotted(node, alias.name)

    def _check_dotted(self, node: ast.AST, dotted: str | None) -> None:
        for name, why in _REFUSED_NAMES.items():
            if dotted is not None and (dotted == name or dotted.startswith(f"{name}.")):
                self._refuse(node, name, why)

    # expressions ---------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> None:
        if (
            node.id in _REFUSED_CALLS
            and isinstance(node.ctx, ast.Load)
            and node.id not in self._imports
        ):
            self._refuse(node, node.id, _REFUSED_CALLS[node.id])
        elif not self._depth and node.id == "__getattr__" and isinstance(node.ctx, ast.Store):
            self._refuse(node, "__getattr__", "of a module makes names at run time")
        elif isinstance(node.ctx, ast.Load):
            self._check_dotted(node, self._imports.get(node.id))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if not isinstance(node.ctx, ast.Load) and self._is_module(node.value):
            self._refuse(node, "setattr", f"changes the module {self._dotted(node.value)}")
        if node.attr == "__subclasses__":
            self._refuse(node, "__subclasses__", "finds classes at run time; use a registry")
        if node.attr == "__dict__" and self._is_own_module(node.value):
            self._refuse(
                node,
                "__dict__",
                f"of the module {self._dotted(node.value)} finds names at run time",
            )
        self._check_dotted(node, self._dotted(node))
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._check_namespace_write(node, node.value)
        self.generic_visit(node)

    def _check_namespace_write(self, node: ast.AST, value: ast.expr) -> None:
        if (
            isinstance(value, ast.Call)
            and isinstance(value.func, ast.Name)
            and value.func.id in _NAMESPACES
        ):
            self._refuse(node, value.func.id, "is written to, which makes names at run time")

    def visit_Call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        first = node.args[0] if node.args else None
        if isinstance(node.func, ast.Attribute) and node.func.attr in (
            "update",
            "setdefault",
            "pop",
        ):
            self._check_namespace_write(node, node.func.value)
        if name in ("setattr", "delattr") and first is not None and self._is_module(first):
            self._refuse(node, "setattr", f"changes the module {self._dotted(first)}")
        if name == "getattr" and first is not None and self._is_own_module(first):
            literal = node.args[1] if len(node.args) > 1 else None
            if not (isinstance(literal, ast.Constant) and isinstance(literal.value, str)):
                self._refuse(
                    node,
                    "getattr",
                    f"takes a computed name from the module {self._dotted(first)}",
                )
        if name in ("vars", "locals") and first is None and not self._depth:
            self._refuse(node, name, "at module level reads or writes names of the module")
        if name == "vars" and first is not None and self._is_module(first):
            self._refuse(
                node,
                "vars",
                f"finds names of the module {self._dotted(first)} at run time",
            )
        self.generic_visit(node)
