"""What a mutant is, and every mutant of one source file: spans of its text with another text.

Words of messages, raises, annotations, decorators and type aliases are left alone: no decision
reads them. Codes are single words, and those are changed where a function gives or compares them.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

SWAPS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
COMPARES: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
CALLS = {"min": "max", "max": "min", "any": "all", "all": "any"}
ALIASES = {"NewType", "TypeVar", "assert_never"}
LARGE = 1000
"""A constant from here on is halved and doubled: one more of a billion is no other behaviour."""
MONEY = "Bps|Ns|Px|Qty|Quote|SignedQty"
CODE = re.compile(r"[a-z]+(_[a-z0-9]+)*")
SKIPPED = (ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr, ast.Assert, ast.MatchClass)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the bytes ``start`` to ``end`` of ``file`` become ``after``."""

    file: str
    function: str
    """Outermost function, ``Class.name`` in a class; empty at module or class level."""
    lines: tuple[int, int]
    """Lines whose execution reaches it, first and last."""
    line: int
    start: int
    end: int
    before: str
    after: str
    row: str = ""
    """The first line of it, as it stands in the file."""
    nth: int = 1
    """Which of equal changes in the same function."""

    @property
    def key(self) -> str:
        """A name that survives edits elsewhere in the file."""
        name = f"{self.file} {self.function or 'module'}: {self.change}"
        return name if self.nth == 1 else f"{name} #{self.nth}"

    @property
    def change(self) -> str:
        """Both texts on one line."""
        return f"{_one_line(self.before)} -> {_one_line(self.after)}"

    def applied(self, source: bytes) -> bytes:
        """Return the source with this change."""
        return source[: self.start] + self.after.encode() + source[self.end :]


def _one_line(text: str) -> str:
    return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the walk stands."""

    function: str = ""
    outer: str = ""
    """Enclosing classes, with a trailing dot."""
    lines: tuple[int, int] = (0, 0)
    returns: str = ""


def mutants(file: str, text: str) -> list[Mutant]:
    """Return every mutant of one file in order of its text, each of which compiles and differs."""
    source = text.encode()
    silent = {n for n, row in enumerate(text.splitlines(), 1) if "no mutate" in row}
    found: dict[tuple[int, int, str], Mutant] = {}
    for made in _Walk(file, source).of(ast.parse(text).body, _Place()):
        place = (made.start, made.end, made.after)
        if made.line not in silent and place not in found and _differs(made):
            found[place] = made
    seen: Counter[str] = Counter()
    numbered = []
    for place in sorted(found):
        seen[found[place].key] += 1
        numbered.append(replace(found[place], nth=seen[found[place].key]))
    return numbered


def _differs(made: Mutant) -> bool:
    one, other = (ast.dump(_parsed(text)) for text in (made.before, made.after))
    return one != other


def _parsed(text: str) -> ast.AST:
    """Parse a statement that may stand inside a function or loop, or an expression."""
    lines = f"while x:\n  ({text})" if _expression(text) else f"def f():\n while x:\n  {text}"
    return ast.parse(lines)


def _expression(text: str) -> bool:
    try:
        ast.parse(f"({text})", mode="eval")
    except SyntaxError:
        return False
    return True


class _Walk:
    def __init__(self, file: str, source: bytes) -> None:
        self._file = file
        self._source = source
        self._starts = [0]
        for row in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(row))

    def of(self, nodes: Iterable[ast.AST], place: _Place) -> Iterator[Mutant]:
        for node in nodes:
            yield from self._node(node, place)

    def _node(self, node: ast.AST, place: _Place) -> Iterator[Mutant]:  # noqa: C901 - one closed dispatch
        if isinstance(node, SKIPPED):
            return
        if isinstance(node, ast.stmt):
            place = replace(place, lines=_header(node))
        match node:
            case ast.FunctionDef():
                yield from self._function(node, place)
            case ast.ClassDef():
                inner = replace(place, outer=f"{place.outer}{node.name}.")
                yield from self.of(node.body, inner)
            case ast.AnnAssign(value=value):
                if value is not None:
                    yield from self._node(value, place)
            case ast.Expr(value=ast.Constant()):
                return
            case _:
                for after in _changes(node, place):
                    yield self._mutant(node, after, place)
                yield from self.of(ast.iter_child_nodes(node), place)

    def _function(self, node: ast.FunctionDef, place: _Place) -> Iterator[Mutant]:
        defaults = [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
        yield from self.of(defaults, place)
        name = place.function or f"{place.outer}{node.name}"
        returns = ast.unparse(node.returns) if node.returns is not None else ""
        yield from self.of(node.body, replace(place, function=name, returns=returns))

    def _mutant(self, node: ast.AST, after: str, place: _Place) -> Mutant:
        assert isinstance(node, ast.expr | ast.stmt)
        start = self._starts[node.lineno - 1] + node.col_offset
        end = self._starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
        before = self._source[start:end].decode()
        if isinstance(node, ast.If | ast.While):  # the condition stands for the statement
            return self._mutant(node.test, after, place)
        row = self._source[self._starts[node.lineno - 1] : self._starts[node.lineno]].decode()
        return Mutant(
            self._file, place.function, place.lines, node.lineno, start, end, before, after, row
        )


def _header(node: ast.stmt) -> tuple[int, int]:
    """Return the lines of a simple statement, or of a compound one before its body."""
    body: list[ast.AST] = getattr(node, "body", None) or getattr(node, "cases", [])
    last = node.end_lineno or node.lineno
    if body:
        first = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
        last = max(node.lineno, getattr(first, "lineno", last) - 1)
    return node.lineno, last


def _changes(node: ast.AST, place: _Place) -> Iterator[str]:  # noqa: C901, PLR0912 - one closed dispatch
    match node:
        case ast.Compare(ops=[only]):
            for other in COMPARES[type(only)]:
                yield _text(ast.Compare(node.left, [other()], node.comparators))
        case ast.BinOp(op=op) if type(op) in SWAPS and not _alias(node, place):
            yield _text(ast.BinOp(node.left, SWAPS[type(op)](), node.right))
        case ast.BinOp(op=ast.Mult(), left=left):  # a lost factor, most often a sign
            yield f"({_text(left)})"
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            if not isinstance(operand, ast.Constant):
                yield f"({_text(operand)})"
        case ast.BoolOp(op=op, values=values):
            other_op = ast.Or() if isinstance(op, ast.And) else ast.And()
            yield f"({_text(ast.BoolOp(other_op, values))})"
            for index in range(len(values)):
                rest = values[:index] + values[index + 1 :]
                yield f"({_text(ast.BoolOp(op, rest) if len(rest) > 1 else rest[0])})"
        case ast.IfExp(test=test, body=body, orelse=orelse):
            yield f"({_text(ast.IfExp(test, orelse, body))})"
        case ast.If(test=test) | ast.While(test=test):
            if not isinstance(test, ast.Compare):
                yield f"not ({_text(test)})"
            if isinstance(node, ast.If):
                yield "True"
                yield "False"
        case ast.Constant(value=value) if place.function or not isinstance(value, str):
            yield from _constants(value)
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            yield _text(ast.Call(ast.Name(CALLS[name]), node.args, node.keywords))
        case ast.Call(func=ast.Name(id="replace"), args=[_], keywords=given) if len(given) > 1:
            for index in range(len(given)):
                kept = given[:index] + given[index + 1 :]
                yield _text(ast.Call(node.func, node.args, kept))
        case ast.Expr(value=ast.Call(func=func)):
            if not (isinstance(func, ast.Name) and func.id in ALIASES):
                yield "pass"
        case ast.AugAssign(target=target, op=op, value=added):
            yield "pass"
            if type(op) in SWAPS:
                yield _text(ast.AugAssign(target, SWAPS[type(op)](), added))
        case ast.Continue() | ast.Break():
            yield "pass"
        case ast.Return(value=value) if value is not None:
            yield from (f"return {text}" for text in _returns(place.returns, _text(value)))


def _text(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(node))


def _alias(node: ast.BinOp, place: _Place) -> bool:
    """True for ``A | B`` of types: an alias, or the second argument of isinstance."""
    if not isinstance(node.op, ast.BitOr):
        return False
    return not place.function or re.fullmatch(r"[A-Z]\w*( \| [A-Z]\w*)+", _text(node)) is not None


def _constants(value: object) -> Iterator[str]:
    if isinstance(value, bool):
        yield str(not value)
    elif isinstance(value, int):
        large = abs(value) >= LARGE
        yield str(value * 2 if large else value + 1)
        if value:
            yield str(value // 2 if large else value - 1)
    elif isinstance(value, str) and CODE.fullmatch(value):
        yield repr(f"{value}_")


def _returns(annotation: str, value: str) -> Iterator[str]:
    """Name the plainest values of the declared type, other than what stands there."""
    plainest = {"bool": ("True", "False"), "str": ("''",), "int": ("0",)}
    choices = plainest.get(annotation, ())
    if annotation.startswith("list["):
        choices = ("[]",)
    elif annotation.endswith("| None"):
        choices = ("None",)
    elif re.fullmatch(MONEY, annotation):
        choices = ("0",)
    bare = re.sub(rf"^({MONEY})\((\w+)\)$", r"\2", value)  # a NewType is nothing at run time
    return (text for text in choices if text != bare)
