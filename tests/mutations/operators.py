"""Small faults that a program can make in a module: one change of its syntax tree each.

A mutant has a key that names the function, the kind of change and its text, and no line: it stays while other code moves.
"""

from __future__ import annotations

import ast
import copy
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LOOKS = frozenset({
    "alpha", "bbox_inches", "capsize", "color", "dpi", "edgecolor", "facecolor", "figsize", "fontsize", "ha",
    "indent", "label", "labelpad", "linestyle", "linewidth", "lw", "marker", "markersize", "pad", "rotation", "s",
    "title", "va", "xytext", "zorder", "bottom", "top", "left", "right", "wspace", "hspace", "ncol", "ncols", "loc",
    "frameon",
})  # fmt: skip
"""Keywords that say how a chart or a file looks: other values are no errors."""
ELSEWHERE = frozenset({"device", "non_blocking", "strict", "separators", "encoding"})
"""Keywords without an effect here: there is one device, and all that is zipped has one length."""
GUARD = 1e-4
"""Smaller numbers keep a quotient or a root finite; their size means nothing, only that they are there."""
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
COMPARISON = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot,
    ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
REDUCTION = {
    "mean": "sum", "sum": "mean", "max": "min", "min": "max", "amax": "amin", "amin": "amax", "argmax": "argmin",
    "argmin": "argmax", "any": "all", "all": "any", "maximum": "minimum", "minimum": "maximum", "median": "mean",
}  # fmt: skip
UNWRAPPED = frozenset({
    "abs", "clamp", "clamp_", "clip", "detach", "square", "sqrt", "normalize", "sort", "sorted", "reversed", "flip",
    "exp", "log", "double", "nan_to_num", "relu", "softmax", "sigmoid", "round", "floor", "ceil", "transpose",
    "cumsum", "item", "set",
})  # fmt: skip
"""Calls that a mutant leaves out, handing on what they were called on."""
ALONG_AXIS = frozenset({
    "sum", "mean", "amax", "amin", "argmax", "argmin", "norm", "std", "var", "softmax", "cumsum", "diff", "flip",
    "cat", "stack", "any", "all", "cumprod", "unbind", "median",
})  # fmt: skip
MODULES = frozenset({"torch", "np", "functional", "math", "linalg", "nn"})
QUIET = ("log.", "logger.", "logging.", "warnings.", "_log.")


@dataclass(frozen=True)
class Change:
    """One change: where it is in the tree (the how-many-th node of a walk), and what stands there instead."""

    key: str
    place: int
    instead: ast.AST


def changes(module: str, source: str) -> list[Change]:
    """All changes of a module, in the order of its text."""
    tree = ast.parse(source)
    numbers = {id(node): number for number, node in enumerate(ast.walk(tree))}
    seen: Counter[str] = Counter()
    found = []
    for scope, node, kind, instead in _candidates(tree, ""):
        before, after = _shown(*(" ".join(ast.unparse(part).split()) for part in (node, instead)))
        if before != after:
            key = f"{module} {scope or 'module'} [{kind}] {before} -> {after}"
            seen[key] += 1
            found.append(Change(f"{key} #{seen[key]}" if seen[key] > 1 else key, numbers[id(node)], instead))
    return found


def _shown(before: str, after: str, around: int = 30, length: int = 70) -> tuple[str, str]:
    """What differs, with a little of what stands before it."""
    same = next((place for place, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), 0)
    start = max(0, same - around)
    return before[start : start + length], after[start : start + length]


def changed(source: str, change: Change) -> str:
    """The module's text with one change."""
    tree = ast.parse(source)
    target = next(node for number, node in enumerate(ast.walk(tree)) if number == change.place)
    replaced = _Replace(target, change.instead).visit(tree)
    return ast.unparse(ast.fix_missing_locations(replaced))


class _Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, instead: ast.AST) -> None:
        self.target, self.instead = target, instead

    def visit(self, node: ast.AST) -> ast.AST:
        return self.instead if node is self.target else self.generic_visit(node)


Candidate = tuple[str, ast.AST, str, ast.AST]


def _candidates(node: ast.AST, scope: str, axis: bool = False) -> Iterator[Candidate]:
    """Changes of a node and of all below it that can be an error; ``axis``: its numbers are axes, which the call has changed."""
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.Assert | ast.Import | ast.ImportFrom) or _says_only(node):
        return
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        scope = f"{scope}.{node.name}".lstrip(".")
    # Numbers of a table, as that of a paper's results, are right or wrong, which only the paper can say.
    if not scope and isinstance(node, ast.Dict):
        return
    if not axis:
        for kind, operator in OPERATORS.items():
            yield from ((scope, node, kind, instead) for instead in operator(node))
    if isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant):
        return  # a negative number has been changed as a whole
    axes = {id(found) for found in _axes(node)}
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list") or (field == "op" and not scope):
            continue
        for child in value if isinstance(value, list) else [value]:
            # Which number a parameter has when nobody says one is a choice; that it is handed on is not.
            chosen = isinstance(node, ast.arguments) and _is_number(child)
            ignored = isinstance(child, ast.keyword) and child.arg in LOOKS | ELSEWHERE
            if isinstance(child, ast.AST) and not chosen and not ignored:
                yield from _candidates(child, scope, axis or id(child) in axes)


def _says_only(node: ast.AST) -> bool:
    """Docstrings, log lines, and the bodies that only raise."""
    if not isinstance(node, ast.Expr):
        return False
    return isinstance(node.value, ast.Constant) or ast.unparse(node).startswith(QUIET)


def _arithmetic(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
        sides = (node.left, node.right)
        if not any(isinstance(side, ast.JoinedStr) or _text(side) for side in sides):
            yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
    if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC and not isinstance(node.value, ast.JoinedStr):
        yield ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)


def _comparison(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Compare):
        for place, operator in enumerate(node.ops):
            others = [*node.ops[:place], COMPARISON[type(operator)](), *node.ops[place + 1 :]]
            yield ast.Compare(node.left, others, node.comparators)


def _negated(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        other = copy.copy(node)
        other.test = ast.UnaryOp(ast.Not(), node.test)
        yield other
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand


def _sign(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and not isinstance(node.operand, ast.Constant):
        yield node.operand


def _number(node: ast.AST) -> Iterator[ast.AST]:
    """Another constant: the next whole number away from zero, half as much again, the other truth."""
    negative = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    constant = node.operand if negative else node
    if not isinstance(constant, ast.Constant):
        return
    value = constant.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        yield ast.Constant(-value - 1 if negative else value + 1)
    elif isinstance(value, float) and (value == 0 or value >= GUARD):
        other = value * 1.5 if value else 1.0
        yield ast.Constant(-other if negative else other)


def _dropped(node: ast.AST) -> Iterator[ast.AST]:
    """A statement left out: a call for its effect, an update of what is there already, a refusal."""
    refusal = isinstance(node, ast.If) and not node.orelse and all(isinstance(step, ast.Raise) for step in node.body)
    call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    if refusal or call or isinstance(node, ast.AugAssign | ast.Break | ast.Continue):
        yield ast.Pass()
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        names = {found.id for found in ast.walk(node.value) if isinstance(found, ast.Name)}
        if isinstance(target, ast.Subscript) or (isinstance(target, ast.Name) and target.id in names):
            yield ast.Pass()


def _swapped(node: ast.AST) -> Iterator[ast.AST]:
    if (
        isinstance(node, ast.Call)
        and len(node.args) >= 2
        and not any(isinstance(a, ast.Starred) for a in node.args[:2])
    ):
        first, second, *rest = node.args
        simple = isinstance(first, ast.Constant) or isinstance(second, ast.Constant | ast.UnaryOp)
        if not simple and ast.unparse(node.func) not in ("isinstance", "getattr", "issubclass"):
            yield ast.Call(node.func, [second, first, *rest], node.keywords)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        yield ast.BinOp(node.right, node.op, node.left)


def _off_by_one(node: ast.AST) -> Iterator[ast.AST]:
    """Ends of a slice that were left open."""
    if isinstance(node, ast.Slice) and node.lower is None and node.upper is not None:
        yield ast.Slice(ast.Constant(1), node.upper, node.step)
    if isinstance(node, ast.Slice) and node.upper is None and node.lower is not None:
        yield ast.Slice(node.lower, ast.Constant(-1), node.step)


def _unwrapped(node: ast.AST) -> Iterator[ast.AST]:
    if not isinstance(node, ast.Call):
        return
    if isinstance(node.func, ast.Attribute) and node.func.attr in UNWRAPPED:
        if ast.unparse(node.func.value) not in MODULES:
            yield node.func.value
        elif node.args:
            yield node.args[0]
    elif isinstance(node.func, ast.Name) and node.func.id in UNWRAPPED | {"max", "min"} and node.args:
        yield node.args[0]


def _reduction(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call):
        function = copy.copy(node.func)
        if isinstance(function, ast.Attribute) and function.attr in REDUCTION:
            function.attr = REDUCTION[function.attr]
            yield ast.Call(function, node.args, node.keywords)
        elif isinstance(function, ast.Name) and function.id in REDUCTION and function.id != "sum":
            function.id = REDUCTION[function.id]
            yield ast.Call(function, node.args, node.keywords)


def _axes(node: ast.AST) -> list[ast.expr]:
    """The expressions of a call that name its axes."""
    if not isinstance(node, ast.Call):
        return []
    named = [keyword.value for keyword in node.keywords if keyword.arg in ("dim", "axis")]
    if isinstance(node.func, ast.Attribute) and node.func.attr in ALONG_AXIS:
        of_module = ast.unparse(node.func.value) in MODULES
        named += node.args[1:2] if of_module else node.args[:1]
    return [axis for axis in named if _other_axis(axis) is not None]


def _other_axis(axis: ast.expr) -> ast.expr | None:
    if isinstance(axis, ast.Tuple) and len(axis.elts) > 1:
        return ast.Tuple(axis.elts[:-1], ast.Load())
    try:
        value = ast.literal_eval(axis)
    except ValueError:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return ast.Constant({0: 1, 1: 0, -1: -2}.get(value, value - 1 if value > 0 else value + 1))


def _axis(node: ast.AST) -> Iterator[ast.AST]:
    for axis in _axes(node):
        assert isinstance(node, ast.Call)
        other = _other_axis(axis)
        assert other is not None
        keywords = [ast.keyword(k.arg, other if k.value is axis else k.value) for k in node.keywords]
        yield ast.Call(node.func, [other if a is axis else a for a in node.args], keywords)


def _keyword(node: ast.AST) -> Iterator[ast.AST]:
    """A keyword argument that is forgotten."""
    if isinstance(node, ast.Call):
        for place, keyword in enumerate(node.keywords):
            if keyword.arg and keyword.arg not in LOOKS | ELSEWHERE:
                yield ast.Call(node.func, node.args, [k for i, k in enumerate(node.keywords) if i != place])


def _is_number(node: object) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)


def _text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


OPERATORS: dict[str, Callable[[ast.AST], Iterator[ast.AST]]] = {
    "arithmetic": _arithmetic,
    "comparison": _comparison,
    "condition": _negated,
    "sign": _sign,
    "number": _number,
    "dropped": _dropped,
    "swapped": _swapped,
    "index": _off_by_one,
    "unwrapped": _unwrapped,
    "reduction": _reduction,
    "axis": _axis,
    "keyword": _keyword,
}
