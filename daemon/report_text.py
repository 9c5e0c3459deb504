"""The report as a person reads it in a terminal: aligned columns, nothing wider than 110."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from textwrap import shorten
from typing import Any

from daemon.report_pnl import NAMES

ALERTS_SHOWN = 10
NOTHING = "-"
COLUMNS = ("spread", "depth", "resting", "delay", "fee", "rebate")


def lines(made: Mapping[str, Any]) -> Iterator[str]:
    """Yield the report's lines."""
    yield title(made)
    yield ""
    yield from _pnl(made)
    if not made["tca"]["all"]["n"]:
        yield ""
        yield "No hedge ended in this span."
    else:
        yield from _tca(made)
        yield from _times(made)
        yield from _worst(made)
    yield from _alerts(made)


def title(made: Mapping[str, Any]) -> str:
    """Return the headline: what, which journal, which day, and how old."""
    day = "all days" if made["day"] == "all" else f"{made['day']} UTC"
    as_of = made["as_of"] or "nothing written yet"
    return (
        f"hedged report  {made['ticker'] or '(no ticker)'}  {made['journal']}  {day}  as of {as_of}"
    )


def notes(made: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a reader must know before trusting a number."""
    pnl = made["pnl"]
    for venue, mark in pnl["marks"].items():
        size = pnl["positions"][venue]
        yield f"{venue} holds {size}, valued at its last {mark['source']} {mark['price']}"
    if pnl["fills_without_mid"]:
        yield f"{pnl['fills_without_mid']} fills without a mid of their moment: in the rest"
    gone = made["only_totals"]
    if gone["orders"] or gone["hedges"]:
        yield (
            f"{gone['orders']} orders and {gone['hedges']} hedges are in the profit only: their "
            "detail is no longer kept"
        )
    if made["rebuilt"]:
        named = ", ".join(made["rebuilt"][:8])
        more = len(made["rebuilt"]) - 8
        tail = f" and {more} more" if more > 0 else ""
        yield f"rebuilt from orders and fills, without times: {named}{tail}"


def money(text: str, places: int = 4) -> str:
    """Render exact money with its sign and fixed places; a zero has no sign."""
    shown = f"{Decimal(text):+.{places}f}"
    return shown[1:] if Decimal(shown) == 0 else shown


def number(value: float | None, places: int = 2) -> str:
    """Render a figure; a dash where nothing was measured."""
    return NOTHING if value is None else f"{value:.{places}f}"


def signed(value: float | None, places: int = 2) -> str:
    """Render a figure with its sign; a zero has none."""
    if value is None:
        return NOTHING
    text = f"{value:+.{places}f}"
    return text[1:] if float(text) == 0 else text


def _pnl(made: Mapping[str, Any]) -> Iterator[str]:
    pnl = made["pnl"]
    yield f"{'PROFIT (+ is a gain)':<48}{'quote':>14}{'bps of volume':>16}"
    for name, words in NAMES.items():
        amount, share = pnl["attribution"][name], pnl["attribution_bps_of_volume"][name]
        if name == "hedge_rounding" and Decimal(amount) == 0:
            continue
        yield f"  {words:<46}{money(amount):>14}{signed(share):>16}"
    total = f"{money(pnl['total']):>14}{signed(pnl['total_bps_of_volume']):>16}"
    yield f"  {'total':<46}{total}"
    volume = made["volume"]
    cost = number(pnl["cost_bps_of_volume"])
    on = ", ".join(f"{Decimal(amount):.2f} on {venue}" for venue, amount in volume.items())
    yield f"  volume {on}; cost {cost} bps of the backpack volume"
    orders = made["orders"]
    counted = ", ".join(f"{count} {name}" for name, count in orders["by_purpose"].items())
    if orders["sent"]:
        yield f"  orders {orders['sent']} ({counted}), {orders['untraded']} ended untraded"
    for note in notes(made):
        yield f"  note: {note}"


def _tca(made: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield "HEDGES (bps against the mid at arrival, fees included; + is paid)"
    heads = "".join(f"{name:>8}" for name in COLUMNS)
    yield f"  {'':<15}{'n':>5}{'mean':>8}{'p50':>8}{'p95':>8}{'p99':>8} |{heads} |{'maker':>6}"
    tca = made["tca"]
    for name, stats in groups(tca):
        yield _group(name, stats)


def groups(tca: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every group that has hedges, with its words."""
    yield "all", tca["all"]
    for key, words in (("by_side", ""), ("by_phase", "ended "), ("by_cycle", "during ")):
        for name, stats in tca[key].items():
            if stats["n"]:
                yield f"{words}{name}", stats


def _group(name: str, stats: Mapping[str, Any]) -> str:
    cost = stats["shortfall_bps"]
    costs = "".join(f"{signed(cost[key]):>8}" for key in ("mean", "p50", "p95", "p99"))
    parts = "".join(f"{signed(stats['parts_bps_mean'][part]):>8}" for part in COLUMNS)
    return f"  {name:<15}{stats['n']:>5}{costs} |{parts} |{share(stats['maker_share']):>6}"


def share(value: float | None) -> str:
    """Render a share as per cent."""
    return NOTHING if value is None else f"{value * 100:.0f}%"


def _times(made: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield f"{'TIMES AND EXPOSURE':<34}{'mean':>12}{'p50':>12}{'p95':>12}{'p99':>12}"
    latency = made["latency"]
    names = (
        ("fill seen to hedge sent, ms", "sent_us"),
        ("sent to acknowledged, ms", "ack_us"),
        ("acknowledged to first fill, ms", "fill_us"),
        ("fill seen to last hedge fill, ms", "total_us"),
    )
    for words, key in names:
        yield _spread(words, {k: _ms(v) for k, v in latency[key].items()})
    naked = made["naked"]
    yield _spread("naked base x seconds, per hedge", naked["base_seconds_per_hedge"], 3)
    longest = NOTHING if naked["longest_ms"] is None else f"{naked['longest_ms']} ms"
    yield (
        f"  naked in all {Decimal(naked['base_seconds']):.3f} base x seconds; "
        f"largest hedge {naked['largest_base']}, longest {longest}"
    )
    for after, stats in made["markouts"].items():
        words = f"markout {after} after, bps (+ is good)"
        missing = f"  ({stats['missing']} missing)" if stats["missing"] else ""
        yield _spread(words, stats["bps"]) + missing


def _ms(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _spread(words: str, stats: Mapping[str, float | None], places: int = 2) -> str:
    figures = "".join(f"{number(stats[key], places):>12}" for key in ("mean", "p50", "p95", "p99"))
    return f"  {words:<32}{figures}"


def _worst(made: Mapping[str, Any]) -> Iterator[str]:
    if not made["worst"]:
        return
    yield ""
    yield "DEAREST HEDGES (hedged explain ID tells the whole story)"
    yield (
        f"  {'id':<8}{'began':<28}{'side':<6}{'filled':>8}{'bps':>8}{'quote':>11}"
        f"{'ms':>8}  {'ended':<10}"
    )
    for row in made["worst"]:
        elapsed = NOTHING if row["elapsed_ms"] is None else str(row["elapsed_ms"])
        yield (
            f"  {row['hedge']:<8}{row['at']:<28}{row['side']:<6}{row['filled']:>8}"
            f"{signed(row['shortfall_bps']):>8}{money(row['shortfall']):>11}{elapsed:>8}"
            f"  {row['phase']:<10}"
        )


def _alerts(made: Mapping[str, Any]) -> Iterator[str]:
    alerts = made["alerts"]
    if not alerts:
        return
    yield ""
    yield f"ALERTS ({len(alerts)}, the newest last)"
    for alert in alerts[-ALERTS_SHOWN:]:
        head = f"  {alert['alert']:<8}{alert['at']:<28}{alert['event']:<18}"
        yield f"{head}{shorten(words_of(alert), 60, placeholder=' ...')}".rstrip()


def words_of(alert: Mapping[str, Any]) -> str:
    """Return what an alert says besides its name and time."""
    return " ".join(f"{k}={v}" for k, v in alert.items() if k not in ("alert", "at", "event"))
