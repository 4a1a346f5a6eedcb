"""Which names of its module a piece of code uses, once its local scopes are taken out.

A *reference* is a string: ``"a.b.c"`` begins at the global name ``a`` of the module,
``"@pkg.mod:f.g"`` begins at an import inside a function (module ``pkg.mod``, then the attributes
``f``, ``g``).
"""

import ast
from collections.abc import Iterable, Iterator

from overparam.fingerprint._bindings import Binder, Scope
from overparam.fingerprint._imports import executed_imports
from overparam.fingerprint._methods import READING_METHODS, changes_container
from overparam.fingerprint._parse import parse_expression


def stem(node: ast.expr) -> tuple[ast.Name, list[str], bool] | None:
    """Peel an expression to the name it starts from.

    ``R.sub["k"](1).add`` gives ``(R, ["sub"], True)``: the unbroken attributes after the name,
    and whether an attribute is taken of something that was called. None if it starts from no
    name.
    """
    parts: list[str] = []
    after_call = False
    attribute_seen = False
    while True:
        if isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            attribute_seen = True
            node = node.value
        elif isinstance(node, ast.Subscript):
            parts = []
            node = node.value
        elif isinstance(node, ast.Call):
            after_call = after_call or attribute_seen
            parts = []
            node = node.func
        else:
            return (node, parts, after_call) if isinstance(node, ast.Name) else None


class References(ast.NodeVisitor):
    """Collect the references of the visited nodes, which stand at module level.

    Attributes:
        code: reference -> first line, of all that may run.
        notes: references in annotations of functions, which do not run when the function does.
        imports: modules imported inside functions.
        mutates: ``(reference, needs_rest)``: globals that the code changes. With ``needs_rest``
            it is a method call, which counts only if the reference ends at an object and an
            attribute is left over.
        class_state: whether a class method changes what the class holds.
        passes: ``(callee, argument)``: globals handed to a function, which may change them.
    """

    def __init__(self, package: str) -> None:
        self.package = package
        self.code: dict[str, int] = {}
        self.notes: dict[str, int] = {}
        self.imports: dict[str, None] = {}
        self.mutates: dict[tuple[str, bool], None] = {}
        self.passes: dict[tuple[str, str], None] = {}
        self.class_state = False
        self._scopes: list[Scope] = []
        self._found = self.code

    # names ---------------------------------------------------------------------------------------

    def roots(self, name: str) -> list[str]:
        """Translate a name seen from the current scope to references; none for a local one."""
        for scope in reversed(self._scopes):
            if scope.is_class and scope is not self._scopes[-1]:
                continue
            if name in scope.globals:
                break
            if name in scope.outer:
                continue
            if name in scope.imports:
                return [f"@{module}:{attribute}" for module, attribute in scope.imports[name]]
            if name in scope.names:
                # a class body falls back on the global of the same name: `tanh = tanh`
                return [name] if scope.is_class else []
        return [name]

    def chains(self, node: ast.expr | None) -> list[str]:
        """List the references of ``name.attribute...``; none for anything else."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.insert(0, node.attr)
            node = node.value
        return self._join(node.id, parts) if isinstance(node, ast.Name) else []

    def stems(self, node: ast.expr) -> list[str]:
        """List the references that :func:`stem` of ``node`` gives."""
        peeled = stem(node)
        return self._join(peeled[0].id, peeled[1]) if peeled else []

    def _join(self, name: str, parts: list[str]) -> list[str]:
        joined = []
        for root in self.roots(name):
            glue = "" if root.endswith(":") else "."
            joined.append(root + glue + ".".join(parts) if parts else root)
        return joined

    def _add(self, references: Iterable[str], line: int) -> None:
        for reference in references:
            self._found.setdefault(reference, line)

    # expressions ---------------------------------------------------------------------------------

    def visit_Name(self, node: ast.Name) -> None:
        self._add(self.roots(node.id), node.lineno)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if _is_chain(node):
            self._add(self.chains(node), node.lineno)
            if not isinstance(node.ctx, ast.Load):
                self._mutation(node)
        else:
            self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._mutation(node)
        self.generic_visit(node)

    def _mutation(self, node: ast.expr) -> None:
        self._class_change(node)
        for reference in self.stems(node):
            self.mutates[reference, False] = None

    def _class_change(self, node: ast.expr) -> None:
        peeled = stem(node)
        self.class_state |= peeled is not None and peeled[0].id == "cls"

    def visit_Call(self, node: ast.Call) -> None:
        callee = node.func
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        if (
            isinstance(callee, ast.Name)
            and callee.id == "getattr"
            and self.roots("getattr") == ["getattr"]
        ):
            literal = node.args[1] if len(node.args) > 1 else None
            if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                self._add(
                    self.chains(ast.Attribute(node.args[0], literal.value, ast.Load())),
                    node.lineno,
                )
                arguments = arguments[2:] if self.chains(node.args[0]) else arguments
        else:
            if isinstance(callee, ast.Attribute) and changes_container(callee.attr):
                self._class_change(callee.value)
            if isinstance(callee, ast.Attribute) and (
                changes_container(callee.attr)
                or (_is_chain(callee) and callee.attr not in READING_METHODS)
            ):
                for reference in self.stems(callee):
                    self.mutates[reference, _is_chain(callee)] = None
            for name in self.chains(callee):
                for argument in arguments:
                    for reference in self.chains(argument):
                        self.passes[name, reference] = None
        self.visit(callee)
        for argument in arguments:
            self.visit(argument)

    def _comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    ) -> None:
        self.visit(node.generators[0].iter)
        scope = Scope(is_class=False)
        binder = Binder(scope, self.package)
        for generator in node.generators:
            binder.visit(generator.target)
        self._scopes.append(scope)
        for position, generator in enumerate(node.generators):
            if position:
                self.visit(generator.iter)
            self.visit(generator.target)
            for condition in generator.ifs:
                self.visit(condition)
        for part in ("elt", "key", "value"):
            if hasattr(node, part):
                self.visit(getattr(node, part))
        self._scopes.pop()

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

    # definitions ---------------------------------------------------------------------------------

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._arguments(node.args)
        self._inside(Scope(is_class=False), node.args, [node.body])

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        self.function(node)

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Visit all of a function but its decorators."""
        scope = Scope(is_class=False, names={p.name for p in getattr(node, "type_params", [])})
        self._arguments(node.args)
        self._scopes.append(scope)
        for argument in _all_arguments(node.args):
            self.annotation(argument.annotation, self.notes)
        self.annotation(node.returns, self.notes)
        self._scopes.pop()
        self._inside(scope, node.args, node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            self.visit(decorator)
        self.class_(node)

    def class_(self, node: ast.ClassDef) -> None:
        """Visit all of a class but its decorators."""
        for base in [*node.bases, *(keyword.value for keyword in node.keywords)]:
            self.visit(base)
        scope = Scope(is_class=True)
        parameters = Scope(is_class=False, names={p.name for p in getattr(node, "type_params", [])})
        self._scopes.append(parameters)
        self._inside(scope, None, node.body)
        self._scopes.pop()

    def _arguments(self, arguments: ast.arguments) -> None:
        for default in [*arguments.defaults, *arguments.kw_defaults]:
            if default is not None:
                self.visit(default)

    def _inside(
        self, scope: Scope, arguments: ast.arguments | None, body: Iterable[ast.AST]
    ) -> None:
        body = list(body)
        if arguments is not None:
            scope.names.update(argument.arg for argument in _all_arguments(arguments))
        binder = Binder(scope, self.package)
        for node in body:
            binder.visit(node)
        scope.names -= scope.outer
        self._scopes.append(scope)
        for node in body:
            self.visit(node)
        self._scopes.pop()

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        for module in executed_imports(node, self.package):
            self.imports[module] = None

    visit_Import = visit_ImportFrom = _import

    # annotations ---------------------------------------------------------------------------------

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        # a class's fields steer pydantic and dataclasses; a local variable's annotation never runs
        local = bool(self._scopes) and not self._scopes[-1].is_class
        self.annotation(node.annotation, self.notes if local else self.code)
        self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def annotation(self, node: ast.expr | None, found: dict[str, int]) -> None:
        """Visit an annotation, reading strings in it as expressions."""
        if node is None:
            return
        before, self._found = self._found, found
        self.visit(node)
        for text in _forward_references(node):
            try:
                parsed = parse_expression(text)
            except SyntaxError:
                continue
            for inner in ast.walk(parsed):
                if isinstance(inner, ast.expr):
                    inner.lineno = node.lineno
            self.visit(parsed)
        self._found = before


def _forward_references(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal"):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _forward_references(child)


def _all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    ends = [end for end in (arguments.vararg, arguments.kwarg) if end is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *ends]


def _is_chain(node: ast.expr) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name)
