"""From the source of a file to its summary."""

import ast
from collections.abc import Iterable, Iterator

from overparam.fingerprint._effects import expression_effects, statement_effects
from overparam.fingerprint._errors import FingerprintError
from overparam.fingerprint._imports import executed_imports, imported_names
from overparam.fingerprint._parse import parse
from overparam.fingerprint._references import References
from overparam.fingerprint._summary import TOP, Decorator, Summary, Unit
from overparam.fingerprint._syntax import canonicalise, text_hash


def summarise(source: bytes, *, package: str, file: str) -> Summary:
    """Summarise a file.

    Args:
        source: what the file holds.
        package: the package that its relative imports start from.
        file: how errors name it.

    Raises:
        FingerprintError: the file is not valid Python.
    """
    try:
        tree = parse(source)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise FingerprintError(f"{file}:{line}: not valid Python: {error}") from None
    summary = Summary()
    nodes: list[ast.stmt] = []
    for statement in tree.body:
        _add_statement(summary, statement, package, nodes)
    _read_exports(summary, tree)
    _label_changes_of_own_names(summary)
    canonicalise(tree)
    for unit, node in zip(summary.units, nodes, strict=True):
        _hash(unit, node)
    return summary


def _add_statement(summary: Summary, node: ast.stmt, package: str, nodes: list[ast.stmt]) -> None:
    if isinstance(node, ast.Import | ast.ImportFrom):
        _bind_import(summary, node, package, executed=True)
        return
    if isinstance(node, ast.If) and _is_main_guard(node.test):
        for statement in node.orelse:
            _add_statement(summary, statement, package, nodes)
        return
    if isinstance(node, ast.If) and _is_type_checking(node.test):
        for inner in _statements(node.body):
            if isinstance(inner, ast.Import | ast.ImportFrom):
                _bind_import(summary, inner, package, executed=False)
        for statement in node.orelse:
            _add_statement(summary, statement, package, nodes)
        return
    unit = _unit(node, package)
    bound = list(dict.fromkeys(_bound_names([node])))
    if unit.kind in ("value", "block") and not bound and not unit.effects:
        return  # a docstring, `pass`, an assertion
    if unit.kind in ("value", "block") and bound:
        unit.label = bound[0]
    for name in bound:
        summary.bindings.setdefault(name, []).append(len(summary.units))
    for inner in _statements([node]):
        if isinstance(inner, ast.Import | ast.ImportFrom):
            _bind_import(summary, inner, package, executed=True)
    summary.units.append(unit)
    nodes.append(node)


def _unit(node: ast.stmt, package: str) -> Unit:
    found = References(package)
    unit = Unit(TOP, "block", node.lineno)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        unit.label = node.name
        for decorator in node.decorator_list:
            inner = References(package)
            inner.visit(decorator)
            unit.decorators.append(
                Decorator("", inner.code, expression_effects("decorator", decorator, package))
            )
        if isinstance(node, ast.ClassDef):
            unit.kind = "class"
            found.class_(node)
            unit.bases = [reference for base in node.bases for reference in found.stems(base)]
            unit.metaclass = [
                r for k in node.keywords if k.arg == "metaclass" for r in found.stems(k.value)
            ]
            unit.subclass_hook = any(
                isinstance(inner, ast.FunctionDef) and inner.name == "__init_subclass__"
                for inner in node.body
            )
        else:
            unit.kind = "function"
            found.function(node)
    else:
        found.visit(node)
        unit.effects = list(statement_effects(node, package))
        if isinstance(node, ast.Assign | ast.AnnAssign):
            unit.kind = "value"
            unit.fixed = node.value is None or _is_fixed(node.value)
            if isinstance(node.value, ast.Call):
                unit.made_by = found.chains(node.value.func)
    unit.code, unit.notes = found.code, found.notes
    unit.imports = list(found.imports)
    unit.class_state = unit.kind == "class" and found.class_state
    unit.mutates, unit.passes = list(found.mutates), list(found.passes)
    return unit


def _hash(unit: Unit, node: ast.stmt) -> None:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        for decorator, expression in zip(unit.decorators, node.decorator_list, strict=True):
            decorator.hash = text_hash(expression)
        node.decorator_list = []
    unit.hash = text_hash(node)


def _bind_import(
    summary: Summary, node: ast.Import | ast.ImportFrom, package: str, *, executed: bool
) -> None:
    if executed:
        summary.imports += [m for m in executed_imports(node, package) if m not in summary.imports]
    for name, imported in imported_names(node, package):
        if name == "*":
            summary.stars.append(imported[0])
        else:
            summary.bindings.setdefault(name, []).append(imported)


_SCOPES = (
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Walk what belongs to the scope of the module itself."""
    for node in body:
        yield node
        if not isinstance(node, _SCOPES):
            yield from _statements(ast.iter_child_nodes(node))


def _bound_names(body: Iterable[ast.AST]) -> Iterator[str]:
    for node in _statements(body):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (
                alias.asname or alias.name.partition(".")[0]
                for alias in node.names
                if alias.name != "*"
            )
        elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


def _is_main_guard(test: ast.expr) -> bool:
    names = {node.id for node in ast.walk(test) if isinstance(node, ast.Name)}
    texts = {node.value for node in ast.walk(test) if isinstance(node, ast.Constant)}
    return names == {"__name__"} and texts == {"__main__"}


def _is_fixed(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple):
        return all(_is_fixed(element) for element in node.elts)
    if isinstance(node, ast.BinOp):
        return _is_fixed(node.left) and _is_fixed(node.right)
    if isinstance(node, ast.UnaryOp):
        return _is_fixed(node.operand)
    return isinstance(node, ast.Constant | ast.JoinedStr)


def _read_exports(summary: Summary, tree: ast.Module) -> None:
    for node in _statements(tree.body):
        if isinstance(node, ast.Assign):
            targets = node.targets
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            targets = [node.target]
        else:
            continue
        if not any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            continue
        if node.value is None:
            continue
        try:
            names = [str(name) for name in ast.literal_eval(node.value)]
            summary.exported = [*(summary.exported or []), *names]
        except (ValueError, TypeError):
            summary.exports_unknown = True


def _label_changes_of_own_names(summary: Summary) -> None:
    """Name ``TABLE["x"] = 1`` after ``TABLE`` where the file itself assigns ``TABLE``."""
    for unit in summary.units:
        roots = {
            reference.partition(".")[0]
            for effect in unit.effects
            for reference in effect.references
        }
        if unit.label == TOP and len(roots) == 1:
            (root,) = roots
            numbers = [b for b in summary.bindings.get(root, []) if isinstance(b, int)]
            if any(summary.units[number].kind == "value" for number in numbers):
                unit.label = root
