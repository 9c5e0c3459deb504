"""The mutation tool: what it changes, what it leaves alone, and that it tells dead from alive."""

import ast
import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.mutation import sample_module
from tests.mutation.__main__ import PACKAGES, ROOT, everything, main, private_copy, sample
from tests.mutation.operators import Mutant, mutants
from tests.mutation.report import BEGIN, END, load_reasons, rewritten, rows, survivors, table
from tests.mutation.session import Result
from tests.mutation.swap import find_function, swap

SAMPLE = "tests/mutation/sample_module.py"
TEXT = (ROOT / SAMPLE).read_text()


def changes(text: str) -> set[str]:
    return {m.change for m in mutants("x.py", text)}


def inside(body: str, returns: str = "int") -> set[str]:
    return changes(f"def f(a: int, b: int) -> {returns}:\n    {body}\n")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return a < b", {"a < b -> a <= b", "a < b -> a >= b"}),
        ("return a == b", {"a == b -> a != b"}),
        ("return a is b", {"a is b -> a is not b"}),
        ("return a + b", {"a + b -> a - b"}),
        ("return a * b", {"a * b -> (a)"}),
        ("return a // b", {"a // b -> a * b"}),
        ("return a << b", {"a << b -> a >> b"}),
        ("return a | b", {"a | b -> a & b"}),
        ("return -a", {"-a -> (a)"}),
        ("return not a", {"not a -> (a)"}),
        ("return a and b", {"a and b -> (a or b)", "a and b -> (a)", "a and b -> (b)"}),
        ("return a if b else 7", {"a if b else 7 -> (7 if b else a)", "7 -> 8", "7 -> 6"}),
        ("return min(a, b)", {"min(a, b) -> max(a, b)"}),
        ("return 5000", {"5000 -> 10000", "5000 -> 2500"}),
        ("return a.b('no_book')", {"'no_book' -> 'no_book_'"}),
        ("a += b", {"a += b -> pass", "a += b -> a -= b"}),
        ("print(a)", {"print(a) -> pass"}),
        ("return replace(a, b=b, c=a)", {
            "replace(a, b=b, c=a) -> replace(a, c=a)", "replace(a, b=b, c=a) -> replace(a, b=b)",
        }),
    ],
)  # fmt: skip
def test_each_operator_makes_its_changes(body: str, expected: set[str]) -> None:
    made = {c for c in inside(body) if not c.startswith("return ")}
    assert made == expected


@pytest.mark.parametrize(
    ("returns", "plain"),
    [("int", "0"), ("bool", "True"), ("str", "''"), ("list[int]", "[]"), ("int | None", "None"),
     ("Qty", "0")],
)  # fmt: skip
def test_a_return_becomes_the_plainest_value_of_its_type(returns: str, plain: str) -> None:
    assert f"return a -> return {plain}" in inside("return a", returns)


def test_a_condition_is_forced_both_ways() -> None:
    made = changes("def f(a: int) -> None:\n    if a:\n        g()\n")
    assert {"a -> True", "a -> False", "a -> not (a)"} <= made


@pytest.mark.parametrize(
    "text",
    [
        "def f(a: int | None) -> int | str: ...",
        "def f():\n    raise ValueError('no such thing' + 'x')",
        "def f(a):\n    return f'{a + 1}'",
        "'''A docstring.'''",
        "Event = A | B",
        "def f(a):\n    x(a)[a < 1]  # pragma: no mutate",
        "def f(a):\n    return Qty('Words of a message')",
        "X: str = 'code'",
    ],
)
def test_what_no_decision_reads_is_left_alone(text: str) -> None:
    assert changes(text) == set()


def test_every_mutant_of_the_tree_compiles_differs_and_has_its_own_key() -> None:
    pool = everything(ROOT, [])
    assert {m.file.split("/")[0] for m in pool} == set(PACKAGES)
    assert len(pool) > 2000
    assert len({m.key for m in pool}) == len(pool)
    for made in pool[::40]:
        source = (ROOT / made.file).read_bytes()
        assert source[made.start : made.end].decode() == made.before
        changed = made.applied(source).decode()
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))


def test_a_package_stands_for_its_files() -> None:
    pool = everything(ROOT, ["safety", "strategy/fold.py"])
    files = list(dict.fromkeys(m.file for m in pool))
    assert files[-1] == "strategy/fold.py"
    assert {"safety/gate.py", "safety/unwind.py"} < set(files)


def test_a_seed_repeats_its_sample() -> None:
    pool = mutants(SAMPLE, TEXT)
    assert sample(pool, 5, 1) == sample(pool, 5, 1)
    assert sample(pool, 5, 1) != sample(pool, 5, 2)
    assert sample(pool, 0, 1) == pool


# --- putting one in ------------------------------------------------------------------------------

SWAP = """
import json, sys
from tests.mutation import sample_module as m
from tests.mutation.operators import Mutant
from tests.mutation.swap import swap
row = json.loads(sys.argv[1])
done = swap(Mutant(**row), open(row["file"], "rb").read())
print(json.dumps([done, m.clipped(7), m.Box().doubled, m.Box().limit, m.LIMIT]))
"""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("min(value, LIMIT) -> max(value, LIMIT)", [True, 7, 10, 5, 5]),
        ("self.limit * 2 -> (self.limit)", [True, 5, 5, 5, 5]),
        ("5 -> 6", [True, 6, 10, 5, 6]),  # the default was made of the old value: import tells
        ("LIMIT + 0 -> LIMIT - 0", [True, 5, 10, 5, 5]),
        ("3 -> 4", [False, 5, 10, 5, 5]),  # a member of an enum: only an import brings it in
    ],
)
def test_a_mutant_is_put_into_a_running_process(change: str, expected: list[object]) -> None:
    (made,) = [m for m in mutants(SAMPLE, TEXT) if m.change == change]
    done = subprocess.run(
        [sys.executable, "-c", SWAP, json.dumps(asdict(made))],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == expected


def test_functions_are_found_behind_methods_and_properties() -> None:
    for name in ("clipped", "Box.doubled", "Box.made"):
        found = find_function(sample_module, name)
        assert found is not None
        assert found.__qualname__ == name
    assert find_function(sample_module, "Box.limit") is None
    assert find_function(sample_module, "absent") is None


def test_a_mutant_of_a_function_that_is_not_there_is_not_swapped() -> None:
    made = replace(mutants(SAMPLE, TEXT)[-1], function="absent")
    assert swap(made, TEXT.encode()) is False


# --- the whole tool ------------------------------------------------------------------------------


def test_the_private_copy_has_no_link_to_the_working_tree(tmp_path: Path) -> None:
    copy = private_copy(tmp_path)
    assert (copy / SAMPLE).read_text() == TEXT
    assert not (copy / ".git").exists()
    (copy / SAMPLE).write_text("changed")
    assert (ROOT / SAMPLE).read_text() == TEXT


def test_it_tells_dead_mutants_from_living_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "results"
    only = ["--only", "strategy/hedging.py", "--tests", "tests/unit/test_hedging_absent.py"]
    with pytest.raises(SystemExit, match="judged 0 of"):
        main(["--mutants", "3", *only])
    before = (ROOT / "safety/latch.py").read_bytes()
    chosen = ["--only", "safety/latch.py", "--tests", "tests/unit/test_unwind.py"]
    main(["--mutants", "0", *chosen, "--results", str(kept)])
    said = capsys.readouterr().out
    outcomes = [json.loads(row)["outcome"] for row in kept.read_text().splitlines()]
    assert outcomes.count("killed") > len(outcomes) * 3 // 4
    assert f"| safety/latch.py | {len(outcomes)} |" in said
    assert (ROOT / "safety/latch.py").read_bytes() == before
    assert said.startswith(f"{len(outcomes)} of {len(outcomes)} mutants, seed 1.")
    assert "python -m tests.mutation --mutants 0 --seed 1 --budget 6 --only safety/latch.py" in said
    assert str(tmp_path) not in said
    again = tmp_path / "again"
    main([*chosen, "--recheck", str(kept), "--results", str(again)])
    rows = [json.loads(row) for row in again.read_text().splitlines()]
    assert [row["outcome"] for row in rows] == outcomes


# --- the report ----------------------------------------------------------------------------------


def result(outcome: str, number: int = 0) -> Result:
    return Result(mutants(SAMPLE, TEXT)[number], outcome)


def test_the_report_counts_per_file_and_names_survivors_with_their_reason() -> None:
    some = [result("killed"), result("timeout", 1), result("survived", 2), result("uncovered", 3)]
    assert rows(some) == [(SAMPLE, 4, 2), ("all", 4, 2)]
    assert f"| {SAMPLE} | 4 | 2 | 50.0 % |" in table(some)
    listed = survivors(some, {some[2].mutant.key: "It is the same."})
    assert "It is the same." in listed
    assert listed.count("a test is missing") == 1
    assert survivors(some[:2], {}) == "None.\n"


def test_only_the_generated_part_of_the_page_is_renewed() -> None:
    page = f"head\n{BEGIN}old\n{END}tail\n"
    assert rewritten(page, "new\n") == f"head\n{BEGIN}new\n{END}tail\n"
    with pytest.raises(ValueError, match="no generated part"):
        rewritten("head", "new")


def test_every_reason_is_given_and_belongs_to_a_mutant_of_today() -> None:
    reasons = load_reasons()
    known = {m.key for m in everything(ROOT, [])}
    assert all(len(why) > 20 for why in reasons.values())
    assert [key for key in reasons if key not in known] == []


def test_mutants_of_equal_change_in_one_function_are_numbered() -> None:
    made = mutants("x.py", "def f(a):\n    g(a, 1)\n    return h(a, 1)\n")
    assert [m.nth for m in made if m.change == "1 -> 2"] == [1, 2]
    assert isinstance(made[0], Mutant)
