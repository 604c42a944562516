"""A routing policy from a formula over indicators: the instance of the lowest value gets the request.

The text is parsed by Python's `ast`; only the node types below are let through, and names of indicators. The policy's
function is put together from that tree, so no text of the user's is ever evaluated.
"""

import ast
from functools import lru_cache
from typing import Any

from .errors import SimError, unknown_name
from .kernel import indicators
from .kernel.jit import compiled_anew
from .kernel.routing import Router, lowest_score, weight_of

INDICATORS = {
    "queued": "queued_requests(sim, i)",
    "running": "running_requests(sim, i)",
    "batch": "batch_size(sim, i)",
    "queued_prefill": "queued_prefill_tokens(sim, i)",
    "input_tokens": "sim.req[r].input",
    "hit_tokens": "sim.hits[i]",
    "pool_hit_tokens": "pool_hit_tokens(sim, r)",
    "new_tokens": "new_tokens(sim, r, i)",
    "decode_kv": "decode_kv_tokens(sim, i)",
    "kv_used": "kv_used_fraction(sim, i)",
    "weight": "weight_of(sim, i)",
}
OF_HITS = {"hit_tokens", "new_tokens"}
FUNCTIONS = {"min": 2, "max": 2, "abs": 1}  # with how many arguments at least
LONGEST_FORMULA = 1000  # characters

_OPERATORS = (
    *(ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow),
    *(ast.UAdd, ast.USub, ast.Not, ast.And, ast.Or),
    *(ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq),
    ast.Load,
)
_EXPRESSIONS = (ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp)

# All in floating point: whole numbers are exact up to 2**53, a division by zero is infinite, 0/0 is no number.
_POLICY = """
def choose(sim, r):
    {hits}
    for a in range(sim.cluster[0].accepting):
        i = sim.accepting[a]
        {values}
        value = FORMULA
        if value != value:
            return -1
        sim.score[a] = value
    return lowest_score(sim)
"""


@lru_cache
def score_router(formula: str) -> Router:
    """The compiled policy of ``formula``. Raises `SimError` for what the language does not have."""
    checked = _parsed(formula)
    spelled = {node.id for node in ast.walk(checked) if isinstance(node, ast.Name)}
    used = [name for name in INDICATORS if f"{name}_" in spelled]
    text = _POLICY.format(
        hits="hit_tokens(sim, r)" if set(used) & OF_HITS else "pass",
        values="; ".join(f"{name}_ = float({INDICATORS[name]})" for name in used) or "pass",
    )
    tree = _Insert(checked).visit(ast.parse(text))
    names: dict[str, Any] = {**vars(indicators), "lowest_score": lowest_score, "weight_of": weight_of}
    exec(compile(ast.fix_missing_locations(tree), "<formula>", "exec"), names)
    return Router(f"score: {formula}", f"argmin {formula}", compiled_anew(names["choose"]), weighs="weight" in used)


class _Insert(ast.NodeTransformer):
    """Puts the formula where the policy says FORMULA."""

    def __init__(self, formula: ast.expr) -> None:
        self.formula = formula

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.formula if node.id == "FORMULA" else node


def _parsed(formula: str) -> ast.expr:
    """The checked tree of the formula."""
    if len(formula) > LONGEST_FORMULA:
        raise SimError(f"score: the formula has {len(formula):,} characters; use at most {LONGEST_FORMULA:,}")
    try:
        tree = ast.parse(formula.strip(), mode="eval").body
        _check(tree, formula)
        return _InFloats().visit(tree)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        if isinstance(error, SimError):
            raise
        raise SimError(
            f"score: {formula!r} is no formula; for example (queued_prefill + new_tokens) * (batch + 1)"
        ) from None


def _check(node: ast.AST, formula: str) -> None:
    if isinstance(node, ast.Name):
        if node.id not in INDICATORS:
            raise SimError(unknown_name("score: indicator", node.id, [*INDICATORS, *FUNCTIONS]))
        return
    if isinstance(node, ast.Constant):
        if type(node.value) not in (int, float):
            raise SimError(f"score: {node.value!r} is no number; a formula has numbers and indicators only")
        return
    if isinstance(node, ast.Call):
        _check_call(node, formula)
        return
    if not isinstance(node, _EXPRESSIONS + _OPERATORS):
        raise SimError(
            f"score: {ast.get_source_segment(formula.strip(), node) or type(node).__name__!r} is not in the language; "  # type: ignore[arg-type]
            "it has + - * / // % **, comparisons, and, or, not, if-else, min, max, abs"
        )
    for child in ast.iter_child_nodes(node):
        _check(child, formula)


def _check_call(node: ast.Call, formula: str) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if name not in FUNCTIONS:
        raise SimError(unknown_name("score: function", name, FUNCTIONS))
    least = FUNCTIONS[name]
    starred = any(isinstance(argument, ast.Starred) for argument in node.args)
    if node.keywords or starred or len(node.args) < least or (name == "abs" and len(node.args) > 1):
        raise SimError(f"score: {name} takes {'one argument' if name == 'abs' else 'two arguments or more'}")
    for argument in node.args:
        _check(argument, formula)


class _InFloats(ast.NodeTransformer):
    """Every value as a floating-point number: whole numbers too, and 1 or 0 for true or false. An indicator's variable
    is its name and ``_``.
    """

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Name(f"{node.id}_", node.ctx) if node.id in INDICATORS else node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        assert isinstance(node.value, int | float)
        return ast.Constant(float(node.value))

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        return self._one_or_zero(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        if isinstance(node.op, ast.Not):
            return self._one_or_zero(node)
        self.generic_visit(node)
        return node

    def _one_or_zero(self, node: ast.expr) -> ast.expr:
        self.generic_visit(node)
        return ast.IfExp(node, ast.Constant(1.0), ast.Constant(0.0))
