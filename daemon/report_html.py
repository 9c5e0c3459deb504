"""The report as one HTML page: no script, no font and no address outside itself."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from daemon.report_pnl import NAMES
from daemon.report_svg import Point, histogram, scatter
from daemon.report_text import (
    COLUMNS,
    groups,
    money,
    notes,
    number,
    share,
    signed,
    title,
    words_of,
)

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --paper: #ffffff; --soft: #5c6670;
  --line: #d7dce1; --bar: #3b6ea8; --passive: #2f7d4f; --cross: #b06a10; --emergency: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --paper: #15181b; --soft: #9aa4ae;
  --line: #343a40; --bar: #7aa7d9; --passive: #6cc08b; --cross: #e0a050; --emergency: #f2837b; } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif;
  max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p, caption { color: var(--soft); } caption { text-align: left; padding-bottom: .3rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr.total td { font-weight: 600; border-top: 2px solid var(--ink); }
svg { width: 100%; max-width: 46rem; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .mid { text-anchor: middle; } svg .end { text-anchor: end; }
svg .grid { stroke: var(--line); stroke-width: .5; } svg .axis { stroke: var(--soft); }
svg .bar { fill: var(--bar); } svg .dot { fill-opacity: .75; }
.passive { fill: var(--passive); color: var(--passive); }
.cross { fill: var(--cross); color: var(--cross); }
.emergency { fill: var(--emergency); color: var(--emergency); }
"""
SPREAD = ("mean", "p50", "p95", "p99")


def page(made: Mapping[str, Any]) -> str:
    """Return the whole page."""
    head = title(made)
    body = "\n".join(
        [*_pnl(made), *_charts(made), *_tca(made), *_times(made), *_hedges(made), *_alerts(made)]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(head)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(head)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _table(
    caption: str, heads: Sequence[str], rows: Sequence[Sequence[str]], total: bool = False
) -> Iterator[str]:
    """Yield a table; cells are escaped, the last row may be a total."""
    yield f'<div class="wide"><table><caption>{escape(caption)}</caption>'
    yield "<tr>" + "".join(f'<th scope="col">{escape(head)}</th>' for head in heads) + "</tr>"
    for index, row in enumerate(rows):
        last = total and index == len(rows) - 1
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row)
        yield f'<tr class="total">{cells}</tr>' if last else f"<tr>{cells}</tr>"
    yield "</table></div>"


def _pnl(made: Mapping[str, Any]) -> Iterator[str]:
    pnl = made["pnl"]
    shares = pnl["attribution_bps_of_volume"]
    rows = [
        [words, money(pnl["attribution"][name], 6), signed(shares[name], 4)]
        for name, words in NAMES.items()
    ]
    rows.append(["total", money(pnl["total"], 6), signed(pnl["total_bps_of_volume"], 4)])
    yield "<h2>Profit</h2>"
    yield from _table("Positive is a gain.", ("cause", "quote", "bps of volume"), rows, total=True)
    volume = made["volume"]
    words = (
        f"Volume: {volume['backpack']} on backpack, {volume['grvt']} on grvt. Cost "
        f"{number(pnl['cost_bps_of_volume'])} bps of the backpack volume."
    )
    yield f"<p>{escape(words)}</p>"
    for note in notes(made):
        yield f"<p>Note: {escape(note)}.</p>"


def _charts(made: Mapping[str, Any]) -> Iterator[str]:
    priced = [h for h in made["hedges"] if h["shortfall_bps"] is not None]
    yield "<h2>Hedges</h2>"
    if not priced:
        yield "<p>No hedge with fills ended in this span.</p>"
        return
    costs = [h["shortfall_bps"] for h in priced]
    yield histogram(costs, "cost, bps against the arrival mid")
    timed = [h for h in priced if h["elapsed_ms"] is not None]
    points = [
        Point(
            h["elapsed_ms"] / 1000,
            h["shortfall_bps"],
            h["phase"],
            f"{h['hedge']} {h['side']} {h['filled']}: {h['shortfall_bps']} bps in "
            f"{h['elapsed_ms']} ms, {h['phase']}",
        )
        for h in timed
    ]
    if points:
        yield scatter(points, "seconds from fill to hedged", "cost, bps")
        yield (
            '<p><span class="passive">passive</span>, <span class="cross">cross</span>, '
            '<span class="emergency">emergency</span>: how the hedge ended.</p>'
        )


def _tca(made: Mapping[str, Any]) -> Iterator[str]:
    rows = []
    for name, stats in groups(made["tca"]):
        cost, parts = stats["shortfall_bps"], stats["parts_bps_mean"]
        rows.append(
            [
                name,
                str(stats["n"]),
                *(signed(cost[key]) for key in SPREAD),
                *(signed(parts[part]) for part in COLUMNS),
                share(stats["maker_share"]),
                number(stats["elapsed_ms"]["p50"], 0),
                number(stats["elapsed_ms"]["p95"], 0),
            ]
        )
    heads = ("group", "n", *SPREAD, *COLUMNS, "maker", "ms p50", "ms p95")
    caption = "bps against the mid at arrival, fees included; positive is paid."
    yield from _table(caption, heads, rows)


def _times(made: Mapping[str, Any]) -> Iterator[str]:
    latency = made["latency"]
    names = {
        "fill seen to hedge sent, us": latency["sent_us"],
        "sent to acknowledged, us": latency["ack_us"],
        "acknowledged to first fill, us": latency["fill_us"],
        "fill seen to last hedge fill, us": latency["total_us"],
    }
    rows = [[words, *(number(s[k], 0) for k in SPREAD)] for words, s in names.items()]
    naked = made["naked"]
    per_hedge = naked["base_seconds_per_hedge"]
    rows.append(["naked base x seconds, per hedge", *(number(per_hedge[k], 3) for k in SPREAD)])
    for after, stats in made["markouts"].items():
        words = f"markout {after} after, bps ({stats['missing']} missing)"
        rows.append([words, *(signed(stats["bps"][k]) for k in SPREAD)])
    yield "<h2>Times, exposure, markouts</h2>"
    yield from _table(
        "Markouts: what the fills were worth at the hedge venue's later mid; positive is good.",
        ("", *SPREAD),
        rows,
    )


def _hedges(made: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        [
            h["hedge"],
            h["at"],
            h["side"],
            h["filled"],
            h["vwap"] or "-",
            signed(h["shortfall_bps"]),
            *(signed(h["parts_bps"][part]) for part in COLUMNS),
            share(h["maker_share"]),
            "-" if h["elapsed_ms"] is None else str(h["elapsed_ms"]),
            h["phase"],
        ]
        for h in made["worst"]
    ]
    if rows:
        yield "<h2>Dearest hedges</h2>"
        heads = ("id", "began", "side", "filled", "vwap", "bps", *COLUMNS, "maker", "ms", "ended")
        yield from _table("hedged explain ID tells each one's whole story.", heads, rows)


def _alerts(made: Mapping[str, Any]) -> Iterator[str]:
    rows = [[a["alert"], a["at"], a["event"], words_of(a)] for a in made["alerts"]]
    if rows:
        yield "<h2>Alerts</h2>"
        heads = ("id", "at", "event", "says")
        yield from _table("hedged explain ID tells what led to each.", heads, rows)
