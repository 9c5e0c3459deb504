"""What a run says: killed per file, and every survivor with its change and the known reason."""

import tomllib
from collections import Counter
from pathlib import Path

from tests.mutation.session import Result

REASONS = Path(__file__).parent / "reasons.toml"


def load_reasons(path: Path = REASONS) -> dict[str, str]:
    """Return why a mutant may live, by its key; each reason is written by hand."""
    table = tomllib.loads(path.read_text())
    return {key: row["why"] for row in table["mutant"] for key in row["keys"]}


def share(part: int, whole: int) -> str:
    """Return a percentage with one place."""
    return f"{part * 100 / whole:.1f} %" if whole else "-"


def rows(results: list[Result]) -> list[tuple[str, int, int]]:
    """Return file, mutants and killed, then the sum of all."""
    total = Counter(r.mutant.file for r in results)
    dead = Counter(r.mutant.file for r in results if r.dead)
    listed = [(file, total[file], dead[file]) for file in sorted(total)]
    return [*listed, ("all", len(results), sum(dead.values()))]


def table(results: list[Result]) -> str:
    """Return the figures per file as a Markdown table."""
    head = "| File | Mutants | Killed | Share |\n|---|---:|---:|---:|\n"
    return head + "".join(f"| {f} | {n} | {k} | {share(k, n)} |\n" for f, n, k in rows(results))


def survivors(results: list[Result], reasons: dict[str, str]) -> str:
    """Return every survivor as a Markdown list: place, change, why it lives."""
    text = ""
    for r in results:
        if not r.dead:
            m = r.mutant
            why = reasons.get(m.key, "no reason known: a test is missing")
            text += f"- `{m.file}:{m.line}` `{m.function or 'module'}` ({r.outcome})\n"
            text += f"  `{m.change}` in `{m.row.strip()}`\n"
            text += f"  {why}\n"
    return text or "None.\n"


BEGIN, END = "<!-- begin: generated -->\n", "<!-- end: generated -->\n"


def rewritten(page: str, generated: str) -> str:
    """Return a page with its generated part replaced.

    Raises:
        ValueError: the page has no generated part.
    """
    head, _, rest = page.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError("the page has no generated part")
    return f"{head}{BEGIN}{generated}{END}{tail}"
