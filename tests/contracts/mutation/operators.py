"""Every mutant of the contract: one small fault each, of the kinds that move money or power to the wrong hands.

Rule kept: a mutant is the source with the text of one syntax node replaced; positions and types are the compiler's.
Over 300 lines: the operators stand side by side, so that a kind of fault that is never tried shows.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise, takewhile
from textwrap import shorten

from vyper import ast as vy
from vyper.compiler import CompilerData
from vyper.semantics.types import IntegerT, StructT

from contracts import TaskState

WIDTH = 80
"""A name shows the largest piece of source around its change that fits in this."""

COMPARISONS = {
    vy.Eq: ("!=", "<=", ">="),
    vy.NotEq: ("==",),
    vy.Lt: ("<=", "!="),
    vy.LtE: ("<", "=="),
    vy.Gt: (">=", "!="),
    vy.GtE: (">", "=="),
    vy.In: ("not in",),
}
ARITHMETIC = {
    vy.Add: "-",
    vy.Sub: "+",
    vy.Mult: "//",
    vy.LShift: ">>",
    vy.RShift: "<<",
    vy.BitAnd: "|",
    vy.BitOr: "&",
}
PARTIES = ("payer", "validator", "miner")
STATES = [state.name for state in TaskState if state is not TaskState.NONE]
SIMPLE_STATEMENTS = (vy.Expr, vy.Assign, vy.AugAssign, vy.Log, vy.Raise, vy.Assert)
COMPOUND = (vy.Module, vy.FunctionDef, vy.If, vy.For)


@dataclass(frozen=True, slots=True)
class Mutant:
    """`function: change`, stable as long as that piece of source is; a repeated change of one function is numbered."""

    name: str
    function: str
    source: str


@dataclass(frozen=True, slots=True)
class Change:
    """One node's text replaced. `title` where the pieces of source around it would not tell what has changed."""

    node: vy.VyperNode
    text: str
    title: str = ""


def mutants(source: str) -> list[Mutant]:
    """All mutants, in the order of the source; none is the source itself, and no two are the same text."""
    module = CompilerData(source).annotated_vyper_module
    found: dict[str, Mutant] = {}
    seen: Counter[str] = Counter()
    for change in _changes(module):
        start, old = _offset(change.node), _text(change.node)
        assert source.startswith(old, start)
        mutated = source[:start] + change.text + source[start + len(old) :]
        if mutated == source or mutated in found:
            continue
        function = _function_of(change.node)
        name = f"{function}: {change.title or _title(change)}"
        seen[name] += 1
        found[mutated] = Mutant(f"{name} ({seen[name]})" if seen[name] > 1 else name, function, mutated)
    off = source.replace("# pragma nonreentrancy on", "# pragma nonreentrancy off")
    return [*found.values(), Mutant("module: nonreentrancy off", "module", off)]


def _changes(module: vy.Module) -> Iterator[Change]:
    storage = [declaration.target for declaration in module.get_children(vy.VariableDecl) if _is_storage(declaration)]
    for declaration in module.get_children(vy.VariableDecl):
        if declaration.is_constant and declaration.target.id not in STATES:
            for node in declaration.value.get_descendants(include_self=True):
                yield from _arithmetic(node)
                yield from _integers(node)
    for function in sorted(module.get_children(vy.FunctionDef), key=lambda node: node.lineno):
        yield from _doors(function)
        nodes = [node for statement in function.body for node in statement.get_descendants(include_self=True)]
        nodes = [node for node in nodes if not isinstance(node, vy.Operator) and not _is_annotation(node)]
        for node in sorted(nodes, key=lambda node: (node.lineno, node.col_offset)):
            for operator in OPERATORS:
                yield from operator(node)
            yield from _storage(node, storage)


# --- operators --------------------------------------------------------------------------------------------------------


def _comparisons(node: vy.VyperNode) -> Iterator[Change]:
    """Bounds moved by one, equality turned round, or widened to one side; but not of states, which have no sides."""
    if isinstance(node, vy.Compare):
        is_number = isinstance(_type(node.left), IntegerT)
        is_state = isinstance(node.op, vy.Eq) and _text(node.right) in STATES
        for symbol in COMPARISONS[type(node.op)]:
            is_the_same = (symbol, _text(node.right)) == ("<=", "0")
            if symbol in ("==", "!=", "not in") or (is_number and not is_state and not is_the_same):
                yield Change(node, f"{_operand(node.left)} {symbol} {_operand(node.right)}")


def _booleans(node: vy.VyperNode) -> Iterator[Change]:
    """`and` and `or` exchanged; each operand left out; `not` left out; True and False exchanged."""
    if isinstance(node, vy.BoolOp):
        is_and = isinstance(node.op, vy.And)
        values = [_operand(value) for value in node.values]
        yield Change(node, (" or " if is_and else " and ").join(values))
        for index in range(len(values)):
            yield Change(node, (" and " if is_and else " or ").join(values[:index] + values[index + 1 :]))
    elif isinstance(node, vy.UnaryOp) and isinstance(node.op, vy.Not):
        yield Change(node, _operand(node.operand))
    elif isinstance(node, vy.NameConstant):
        yield Change(node, str(not node.value))


def _arithmetic(node: vy.VyperNode) -> Iterator[Change]:
    """Operators exchanged, operands left out: also the masks and shifts of packed words."""
    if isinstance(node, vy.BinOp) and type(node.op) in ARITHMETIC:
        left, right = _operand(node.left), _operand(node.right)
        yield Change(node, f"{left} {ARITHMETIC[type(node.op)]} {right}")
        yield Change(node, left)
        if isinstance(node.op, vy.Add):
            yield Change(node, right)
    elif isinstance(node, vy.AugAssign):
        target, value = _text(node.target), _text(node.value)
        yield Change(node, f"{target} {ARITHMETIC[type(node.op)]}= {value}")
        yield Change(node, f"{target} = {value}")


def _integers(node: vy.VyperNode) -> Iterator[Change]:
    if isinstance(node, vy.Int):
        yield Change(node, str(node.value + 1))
        if node.value > 0:
            yield Change(node, str(node.value - 1))


def _conditions(node: vy.VyperNode) -> Iterator[Change]:
    if isinstance(node, vy.If):
        for forced in ("True", "False"):
            yield Change(node.test, forced, f"if {_short(node.test)} -> if {forced}")


def _deletions(node: vy.VyperNode) -> Iterator[Change]:
    if isinstance(node, SIMPLE_STATEMENTS):
        yield Change(node, "pass", f"delete {_short(node)}")


def _swaps(node: vy.VyperNode) -> Iterator[Change]:
    """Two arguments of one type exchanged, of calls, structs and events; constants, like tags and type hashes, stay."""
    if isinstance(node, vy.Call):
        arguments = [argument.value if isinstance(argument, vy.keyword) else argument for argument in node.args]
        arguments += [keyword.value for keyword in node.keywords]
        for one, other in combinations(arguments, 2):
            is_tag = any(isinstance(argument, vy.Name) and argument.id.isupper() for argument in (one, other))
            if not is_tag and _type(one) is not None and _type(one) == _type(other):
                text, base = _text(node), _offset(node)
                first, last = _offset(one) - base, _offset(other) - base
                middle = text[first + len(_text(one)) : last]
                rest = text[last + len(_text(other)) :]
                swapped = text[:first] + _text(other) + middle + _text(one) + rest
                yield Change(node, swapped, f"{_short(one)} <-> {_short(other)} in {_short(node, WIDTH // 2)}")


def _people(node: vy.VyperNode) -> Iterator[Change]:
    """Another party in a party's place: each of the terms', the caller, whoever signed the transaction.

    Where a check says that the caller is one of the parties, the two are exchanged in that check alone.
    """
    function = node.get_ancestor(vy.FunctionDef)
    named = [f"terms.{party}" for party in PARTIES if any(argument.arg == "terms" for argument in function.args.args)]
    text = _text(node)
    if isinstance(node, vy.Attribute) and text in named:
        others = [*named, "msg.sender"]
    elif isinstance(node, vy.Attribute) and text == "msg.sender":
        others = [*named, "tx.origin"]
    elif isinstance(node, vy.Call) and text == "empty(address)":
        others = ["msg.sender"]
    else:
        return
    checks = [f"msg.sender == {party}" for party in named]
    known = {_text(compare) for compare in function.get_descendants(vy.Compare)}.intersection(checks)
    for other in others:
        is_the_same = _text(node.get_ancestor()) not in known and {f"{text} == {other}", f"{other} == {text}"} & known
        if other != text and not is_the_same:
            yield Change(node, other)


def _fields(node: vy.VyperNode) -> Iterator[Change]:
    """The next field of the same type, of a struct; a party is exchanged by `_people`."""
    if isinstance(node, vy.Attribute) and isinstance(_type(node.value), StructT) and node.attr not in PARTIES:
        members = _type(node.value).member_types
        other = _next(node.attr, [name for name, type_ in members.items() if type_ == members[node.attr]])
        yield Change(node, f"{_text(node.value)}.{other}")


def _states(node: vy.VyperNode) -> Iterator[Change]:
    """The states before and after; the two chain ids."""
    if isinstance(node, vy.Name) and node.id in STATES:
        yield Change(node, _next(node.id, STATES[::-1]))
        yield Change(node, _next(node.id, STATES))
    elif _text(node) == "chain.id":
        yield Change(node, "BIRTH_CHAIN_ID")
    elif _text(node) == "BIRTH_CHAIN_ID" and isinstance(node, vy.Name):
        yield Change(node, "chain.id")


def _storage(node: vy.VyperNode, storage: list[vy.VyperNode]) -> Iterator[Change]:
    """The next storage variable of the same type."""
    if isinstance(node, vy.Attribute) and _text(node.value) == "self":
        same = [variable.id for variable in storage if _type(variable) == _type(node)]
        if node.attr in same:
            yield Change(node, f"self.{_next(node.attr, same)}")


def _doors(function: vy.FunctionDef) -> Iterator[Change]:
    """An external function that takes ether too, or can be entered while another runs."""
    decorators = {decorator.id: decorator for decorator in function.decorator_list}
    if "external" in decorators:
        for extra in ("payable", "reentrant"):
            if extra not in decorators and not (extra == "payable" and "view" in decorators):
                yield Change(decorators["external"], f"external\n@{extra}", f"@{extra}")


OPERATORS = (
    _comparisons,
    _booleans,
    _arithmetic,
    _integers,
    _conditions,
    _deletions,
    _swaps,
    _people,
    _fields,
    _states,
)

# --- syntax -----------------------------------------------------------------------------------------------------------


def _text(node: vy.VyperNode) -> str:
    return str(node.node_source_code)


def _collapsed(text: str) -> str:
    return " ".join(text.split())


def _operand(node: vy.VyperNode) -> str:
    """The text, in brackets where its neighbours could pull it apart."""
    is_one = isinstance(node, (vy.Name, vy.Attribute, vy.Subscript, vy.Call, vy.Int, vy.NameConstant))
    return _text(node) if is_one else f"({_text(node)})"


def _short(node: vy.VyperNode, width: int = WIDTH) -> str:
    return shorten(_text(node), width, placeholder=" ...")


def _type(node: vy.VyperNode) -> object:
    return node._metadata.get("type")


def _offset(node: vy.VyperNode) -> int:
    return int(node.src.split(":")[0])


def _next(name: str, ring: list[str]) -> str:
    return ring[(ring.index(name) + 1) % len(ring)]


def _is_storage(declaration: vy.VariableDecl) -> bool:
    return not (declaration.is_constant or declaration.is_immutable)


def _is_annotation(node: vy.VyperNode) -> bool:
    """Whether the node is in a type: a bound there changes what decodes, not what the contract does with it."""
    for child, parent in pairwise([node, *_ancestors(node)]):
        if isinstance(parent, vy.AnnAssign) and child is parent.annotation:
            return True
    return False


def _ancestors(node: vy.VyperNode) -> Iterator[vy.VyperNode]:
    while (node := node.get_ancestor()) is not None:
        yield node


def _function_of(node: vy.VyperNode) -> str:
    function = node.get_ancestor(vy.FunctionDef)
    return str(function.name) if function else "module"


def _title(change: Change) -> str:
    """The largest piece of source around the change that fits, before and after, and in which statement it stands."""
    chain = [change.node, *takewhile(lambda node: not isinstance(node, COMPOUND), _ancestors(change.node))]
    fitting = list(takewhile(lambda node: len(_collapsed(_text(node))) <= WIDTH, chain))
    piece = fitting[-1] if fitting else change.node
    before, start = _text(piece), _offset(change.node) - _offset(piece)
    after = before[:start] + change.text + before[start + len(_text(change.node)) :]
    place = "" if piece is chain[-1] else f" in {_short(chain[-1], WIDTH // 2)}"
    return f"{_collapsed(before)} -> {_collapsed(after)}{place}"
