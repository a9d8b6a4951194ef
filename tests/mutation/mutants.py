"""From a module's source to its mutants: each is one small fault that a test ought to notice.

Words for readers are left alone: strings, docstrings, and what only annotates.
"""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr,
}  # fmt: skip
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True, order=True)
class Mutant:
    """One fault: the bytes from ``start`` to ``end`` of ``file`` replaced."""

    file: str
    line: int
    start: int
    end: int
    kind: str
    before: str
    after: str

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.end :]


def mutants(file: str, source: bytes) -> list[Mutant]:
    """Every mutant of one module, in the order of its lines."""
    tree = ast.parse(source)
    offsets = [0]
    for line in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    found = set()
    for node, kind, after in _changes(tree):
        start = offsets[node.lineno - 1] + node.col_offset
        end = offsets[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)
        before = source[start:end].decode()
        found.add(Mutant(file, node.lineno, start, end, kind, before, after))
    return sorted(found)


Changed = tuple[ast.expr | ast.stmt, str, str]


def _changes(tree: ast.Module) -> Iterator[Changed]:
    members = _members(tree)
    for node in _walk(tree):
        yield from _expression(node, members)
        yield from _statement(node)


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run, each once; not the words, and not the annotations."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.JoinedStr) or not isinstance(child, ast.AST):
                continue
            yield from _walk(child)


def _members(tree: ast.Module) -> dict[str, list[str]]:
    """Class -> the upper-case members of it that this module uses: enums, for the most part."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if _is_member(node):
            found.setdefault(node.value.id, set()).add(node.attr)  # type: ignore[attr-defined]
    return {name: sorted(values) for name, values in found.items()}


def _is_member(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id[:1].isupper()
        and node.attr.isupper()
    )


def _expression(node: ast.AST, members: dict[str, list[str]]) -> Iterator[Changed]:
    yield from _logic(node)
    match node:
        case ast.BinOp(left, op, right) if type(op) in OPERATORS and not _wordy(node):
            yield node, "operator", _text(ast.BinOp(left, OPERATORS[type(op)](), right))
        case ast.Constant(value=bool() as value):
            yield node, "constant", str(not value)
        case ast.Constant(value=int() | float() as value):
            yield node, "constant", repr(value + 1)
        case ast.Tuple(elts=elts) | ast.List(elts=elts) if len(elts) > 1 and _loads(node):
            for index in range(len(elts)):
                changed = copy.deepcopy(node)
                del changed.elts[index]
                yield node, "element removed", _text(changed)
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            yield node.func, "call", CALLS[name]
        case ast.Attribute(value=ast.Name(id=name), attr=attr) if _is_member(node):
            others = members[name]
            if len(others) > 1:
                other = others[(others.index(attr) + 1) % len(others)]
                yield node, "member", f"{name}.{other}"


def _logic(node: ast.AST) -> Iterator[Changed]:
    match node:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                changed = copy.deepcopy(node)
                changed.ops[index] = COMPARISONS[type(op)]()
                yield node, "comparison", _text(changed)
        case ast.BoolOp(op=op, values=values):
            changed_op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield node, "and/or", _text(ast.BoolOp(changed_op, values))
            for index in range(len(values)):
                rest = values[:index] + values[index + 1 :]
                yield node, "operand removed", _text(ast.BoolOp(op, rest) if rest[1:] else rest[0])
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield node, "not", _text(operand)
        case ast.IfExp(test, body, orelse):
            yield node, "condition", _text(ast.IfExp(test, orelse, body))


def _statement(node: ast.AST) -> Iterator[Changed]:
    match node:
        case ast.If(test=test) | ast.While(test=test):
            yield test, "condition", _text(ast.UnaryOp(ast.Not(), test))
        case ast.comprehension(ifs=ifs):
            for test in ifs:
                yield test, "condition", _text(ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield node, "return", "return None"
        case ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom() as value):
            after = "pass" if isinstance(value, ast.Call) else f"if False: {ast.unparse(node)}"
            yield node, "statement removed", after
        case ast.AugAssign(target, op, value) if type(op) in OPERATORS:
            changed = ast.AugAssign(target, OPERATORS[type(op)](), value)
            yield node, "operator", ast.unparse(changed)
        case ast.Continue():
            yield node, "loop", "break"
        case ast.Break():
            yield node, "loop", "continue"


def _text(node: ast.expr) -> str:
    """``node`` as source that stands wherever an expression stood."""
    return f"({ast.unparse(ast.fix_missing_locations(node))})"


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _loads(node: ast.Tuple | ast.List) -> bool:
    """A value, and neither what is assigned to nor a subscript's types."""
    return isinstance(node.ctx, ast.Load) and not any(isinstance(e, ast.Starred) for e in node.elts)


def _wordy(node: ast.BinOp) -> bool:
    """Text put together: its words are no behaviour."""
    parts = (node.left, node.right)
    return any(
        isinstance(part, ast.JoinedStr)
        or (isinstance(part, ast.Constant) and isinstance(part.value, str))
        or (isinstance(part, ast.BinOp) and _wordy(part))
        for part in parts
    )
