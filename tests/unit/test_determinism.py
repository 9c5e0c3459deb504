"""What would make a seed repeat badly is banned from the daemon, by reading its source.

No ripgrep, no optional tool: the check parses every file itself, counts what it read, and proves on
samples that each rule bites, so that it can neither be skipped nor pass over nothing.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("daemon", "strategy", "safety", "exchanges")
LEAST_FILES = {"daemon": 25, "strategy": 12, "safety": 5, "exchanges": 40}

CLOCKS = frozenset(
    f"time.{name}"
    for name in (
        "time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "sleep",
        "process_time", "process_time_ns", "localtime",
    )
) | {
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today",
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.date.today",
}  # fmt: skip
RANDOM = frozenset(
    f"random.{name}"
    for name in (
        "random", "randint", "randrange", "choice", "choices", "shuffle", "sample", "uniform",
        "seed", "getrandbits", "gauss", "betavariate", "expovariate", "SystemRandom", "randbytes",
    )
) | {"uuid.uuid4", "uuid.uuid1", "uuid4", "os.urandom", "secrets.token_bytes", "secrets.token_hex",
     "secrets.randbits", "secrets.token_urlsafe", "secrets.choice"}  # fmt: skip
TASKS = frozenset({"asyncio.create_task", "asyncio.ensure_future", "create_task", "ensure_future"})
LOOPS = frozenset(
    {"asyncio.get_event_loop", "asyncio.new_event_loop", "asyncio.run_coroutine_threadsafe"}
)
THREADS = frozenset({"asyncio.to_thread", "threading.Thread", "Thread", "ThreadPoolExecutor",
                     "concurrent.futures.ThreadPoolExecutor"})  # fmt: skip
ORDERLESS = frozenset(
    {"sorted", "len", "any", "all", "sum", "min", "max", "set", "frozenset", "bool"}
)
"""Calls whose result does not depend on the order in which a set is gone through."""

CLOCK_FILES = {
    "daemon/clock.py": "the one place that reads the machine's clocks",
    "daemon/bench/": "measures wall time",
    "exchanges/simulator/universe.py": "Driver.wall is the simulator's own clock",
    "daemon/admin.py": "an operator's command, outside the run",
}
RANDOM_FILES: dict[str, str] = {}
SET_LINES = {
    ("exchanges/simulator/backpack_orders.py", "for … in self._held"): "cancels timers: any order",
    ("exchanges/simulator/grvt_desk.py", "for … in self._timers"): "cancels timers: any order",
}
THREAD_FILES = {
    "daemon/record.py": "prepares the files of a recording, not of a run",
    "daemon/log_writer.py": "writes log lines off the decision path",
    "daemon/record_writer.py": "compresses recordings off the decision path",
}


@dataclass(frozen=True, slots=True)
class Offence:
    """One construct that would not repeat."""

    rule: str
    line: int
    what: str


def dotted(node: ast.AST) -> str:
    """Return a name or attribute chain as text; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else node.attr
    return ""


class Imports:
    """What the names of a module mean, however they were imported."""

    def __init__(self, tree: ast.Module) -> None:
        self.alias: dict[str, str] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for name in node.names:
                    self.alias[name.asname or name.name.split(".")[0]] = (
                        name.name if name.asname else name.name.split(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for name in node.names:
                    self.alias[name.asname or name.name] = f"{node.module}.{name.name}"

    def full(self, node: ast.AST) -> str:
        """Return the full name that an expression stands for."""
        text = dotted(node)
        first, _, rest = text.partition(".")
        meant = self.alias.get(first, first)
        return f"{meant}.{rest}" if rest else meant


def offences(source: str) -> list[Offence]:
    """Return everything in a module that a seed would not repeat."""
    tree = ast.parse(source)
    names = Imports(tree)
    return sorted(
        [*_calls(tree, names), *_set_orders(tree)], key=lambda o: (o.line, o.rule, o.what)
    )


def _calls(tree: ast.Module, names: Imports) -> Iterator[Offence]:
    groups = _task_groups(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            yield from _named(node, names)
        if not isinstance(node, ast.Call):
            continue
        full = names.full(node.func)
        if full in {"random.Random", "Random"} and not node.args and not node.keywords:
            yield Offence("random", node.lineno, "Random() without a seed")
        if isinstance(node.func, ast.Attribute) and node.func.attr in (
            "create_task",
            "ensure_future",
        ):
            owner = dotted(node.func.value)
            if owner not in groups and full not in TASKS:
                yield Offence("task", node.lineno, f"{owner}.{node.func.attr} outside a TaskGroup")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "run_in_executor":
            yield Offence("thread", node.lineno, "run_in_executor")


def _named(node: ast.Attribute | ast.Name, names: Imports) -> Iterator[Offence]:
    """Judge a mention, called or handed on: ``key=time.time`` reads the clock as well."""
    full = names.full(node)
    for rule, banned in (
        ("clock", CLOCKS), ("random", RANDOM), ("task", TASKS | LOOPS), ("thread", THREADS),
    ):  # fmt: skip
        if full in banned and isinstance(node.ctx, ast.Load):
            yield Offence(rule, node.lineno, full)


def _task_groups(tree: ast.Module) -> frozenset[str]:
    """Return the names that a TaskGroup has: ``async with``, parameters, and ``self`` fields."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AsyncWith):
            found.update(_bound(node))
        if isinstance(node, ast.arg) and "TaskGroup" in ast.unparse(node.annotation or node):
            found.add(node.arg)
        if isinstance(node, ast.AnnAssign) and "TaskGroup" in ast.unparse(node.annotation):
            found.add(dotted(node.target))
    for node in ast.walk(tree):  # a field that was given one
        if isinstance(node, ast.Assign) and dotted(node.value) in found:
            found.update(dotted(target) for target in node.targets)
    return frozenset(found)


def _bound(node: ast.AsyncWith) -> Iterator[str]:
    for item in node.items:
        if "TaskGroup" in ast.unparse(item.context_expr) and item.optional_vars is not None:
            yield dotted(item.optional_vars)


# --- the order of sets -------------------------------------------------------------------------


def _set_orders(tree: ast.Module) -> Iterator[Offence]:
    """Find loops, comprehensions and conversions that go through a set in its own order."""
    known = _set_names(tree)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor) and _is_set(node.iter, known):
            yield Offence("set", node.lineno, f"for … in {ast.unparse(node.iter)}")
        if isinstance(node, ast.ListComp | ast.GeneratorExp | ast.DictComp):
            first = node.generators[0].iter
            bad = _is_set(first, known) and not _orderless(parents.get(node))
            yield from [Offence("set", node.lineno, ast.unparse(first))] if bad else []
        if isinstance(node, ast.Call):
            yield from _through_call(node, known)
        spread = isinstance(node, ast.Starred) and not isinstance(parents.get(node), ast.Set)
        if spread and isinstance(node, ast.Starred) and _is_set(node.value, known):
            yield Offence("set", node.lineno, f"*{ast.unparse(node.value)}")


def _through_call(node: ast.Call, known: frozenset[str]) -> Iterator[Offence]:
    name = dotted(node.func)
    ordered = name in ("list", "tuple", "iter", "enumerate", "dict.fromkeys", "zip", "map", "next")
    joins = isinstance(node.func, ast.Attribute) and node.func.attr in ("join", "extend")
    if (ordered or joins) and any(_is_set(a, known) for a in node.args):
        yield Offence("set", node.lineno, ast.unparse(node))
    pops = isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and not node.args
    if pops and isinstance(node.func, ast.Attribute) and _is_set(node.func.value, known):
        yield Offence("set", node.lineno, ast.unparse(node))


def _orderless(parent: ast.AST | None) -> bool:
    return isinstance(parent, ast.Call) and dotted(parent.func) in ORDERLESS


def _is_set(node: ast.AST, known: frozenset[str]) -> bool:
    if isinstance(node, ast.Set | ast.SetComp):
        return True
    if isinstance(node, ast.BinOp) and isinstance(
        node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor
    ):
        return _is_set(node.left, known) or _is_set(node.right, known)
    if isinstance(node, ast.Call):
        return dotted(node.func) in ("set", "frozenset")
    return dotted(node) in known


def _set_names(tree: ast.Module) -> frozenset[str]:
    """Return names and fields that hold sets, by annotation or by what they are given."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and _set_typed(node.annotation):
            target = dotted(node.target)
            found.update((target, f"self.{target}"))
        elif isinstance(node, ast.arg) and node.annotation and _set_typed(node.annotation):
            found.add(node.arg)
        elif isinstance(node, ast.Assign) and _is_set(node.value, frozenset()):
            found.update(dotted(target) for target in node.targets)
    return frozenset(name for name in found if name)


def _set_typed(annotation: ast.AST) -> bool:
    text = ast.unparse(annotation)
    return text.startswith(("set[", "frozenset[", "Set[", "AbstractSet[")) or text in (
        "set",
        "frozenset",
    )


# --- the check -----------------------------------------------------------------------------------


def _allowed(path: str, offence: Offence) -> bool:
    if (path, offence.what) in SET_LINES:
        return True
    lists = {"clock": CLOCK_FILES, "random": RANDOM_FILES, "thread": THREAD_FILES}
    files = lists.get(offence.rule, {})
    return any(path == name or (name.endswith("/") and path.startswith(name)) for name in files)


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_in_the_daemon_would_make_a_seed_repeat_badly(package: str) -> None:
    files = sources(package)
    assert len(files) >= LEAST_FILES[package], f"{package}: only {len(files)} files were read"
    found = []
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        for offence in offences(path.read_text()):
            line = f"{name}:{offence.line}: {offence.rule}: {offence.what}"
            found += [] if _allowed(name, offence) else [line]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("clock", "import time\nx = time.time()"),
        ("clock", "from time import monotonic_ns as tick\nx = tick()"),
        ("clock", "import datetime as dt\nx = dt.datetime.now()"),
        ("clock", "from datetime import datetime\nx = datetime.now()"),
        ("clock", "import time\nread = dict(key=time.perf_counter)"),
        ("random", "import random\nx = random.random()"),
        ("random", "from random import shuffle\nshuffle([])"),
        ("random", "from random import Random\nx = Random()"),
        ("random", "import uuid\nx = uuid.uuid4()"),
        ("random", "import os\nx = os.urandom(8)"),
        ("random", "import secrets\nx = secrets.token_hex()"),
        ("task", "import asyncio\nasyncio.create_task(f())"),
        ("task", "from asyncio import ensure_future\nensure_future(f())"),
        ("task", "async def f(loop):\n    loop.create_task(g())"),
        ("task", "import asyncio\nloop = asyncio.get_event_loop()"),
        ("thread", "import asyncio\nasync def f():\n    await asyncio.to_thread(g)"),
        ("thread", "from threading import Thread\nThread(target=f).start()"),
        ("thread", "async def f(loop):\n    await loop.run_in_executor(None, g)"),
        ("set", "for x in {1, 2}:\n    pass"),
        ("set", "names: set[str] = set()\nfor x in names:\n    pass"),
        ("set", "names = frozenset('ab')\nx = [n for n in names]"),
        ("set", "def f(names: frozenset[str]) -> str:\n    return ' '.join(names)"),
        ("set", "names = {'a'}\nx = list(names)"),
        ("set", "names = set()\nx = names.pop()"),
        ("set", "names = {'a'}\nx = [*names]"),
        ("set", "class A:\n    held: set[int]\n    def f(self):\n        return tuple(self.held)"),
        ("set", "x = list({1} | {2})"),
    ],
)  # fmt: skip
def test_each_rule_bites(rule: str, line: str) -> None:
    assert rule in {offence.rule for offence in offences(line)}


@pytest.mark.parametrize(
    "line",
    [
        "import time\ntext = time.strftime('%Y', time.gmtime(0))",
        "from random import Random\nx = Random(1).random()",
        """
import asyncio
async def f():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(g())
""",
        """
import asyncio
class A:
    def __init__(self, group: asyncio.TaskGroup):
        self._tasks = group
    def go(self):
        self._tasks.create_task(g())
""",
        "names = {'b', 'a'}\nx = sorted(names)\ny = len(names)\nz = any(n for n in names)",
        "names = {'b'}\nx = {n.upper() for n in names}",
        "names = {'b'}\nx = 'b' in names",
        "rows = {}\nfor x in rows:\n    pass",
    ],
)  # fmt: skip
def test_what_repeats_is_let_through(line: str) -> None:
    assert offences(line) == []


def test_every_exception_still_names_a_file_and_a_reason() -> None:
    """An exception whose file is gone, or is clean by now, must go."""
    for rule, files in (("clock", CLOCK_FILES), ("random", RANDOM_FILES), ("thread", THREAD_FILES)):
        for name, reason in files.items():
            assert len(reason) > 5
            paths = list((ROOT / name).rglob("*.py")) if name.endswith("/") else [ROOT / name]
            rules = {o.rule for p in paths if p.is_file() for o in offences(p.read_text())}
            assert rule in rules, f"{name}: no {rule} in it: take the exception out"
    for name, what in SET_LINES:
        assert what in {o.what for o in offences((ROOT / name).read_text())}, name
