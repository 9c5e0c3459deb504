"""One kind of fault at a time in the simulated world: the whole daemon, judged by the venues."""

from collections.abc import Callable
from typing import Any

from strategy.domain import Venue
from tests.dst.episode import Report, Script, run
from tests.dst.faults import BY_NAME, Fault, Kind

FLAGS = {
    "size": "0.4", "iter": "0", "max_position": "0.8", "sleep": "0", "fill_timeout": "1",
    "hedge_mode": "smart", "primary_mode": "bbo", "risk_aversion": "10",
}  # fmt: skip


def kept(name: str, **settings: Any) -> Kind:
    """Return a kind that stays on the board until the storm is over."""
    known = BY_NAME.get(name)

    def act(stage: Any, rng: Any, venue: Venue, fault: Fault) -> Callable[[], None]:
        del rng, fault
        stage.universe.faults.add({"venue": venue.value, "fault": name, "count": 1000} | settings)
        stage.universe.apply_faults()

        def undo() -> None:
            stage.universe.faults.clear()
            stage.universe.apply_faults()

        return undo

    return Kind(name, act, tuple(Venue) if known is None else known.venues)


def episode(
    *kinds: Kind | str, venue: Venue, at: tuple[float, ...] = (2.0, 5.0), seconds: float = 4.0,
    seed: int = 1, storm: float = 9.0, **flags: str,
) -> Report:  # fmt: skip
    """Run an episode with these kinds alone on one venue; nothing may have been violated."""
    chosen = [BY_NAME[k] if isinstance(k, str) else k for k in kinds]
    faults = tuple(Fault(k, venue, when, seconds, 1) for when in at for k in chosen)
    report = run(Script(seed, storm, FLAGS | flags, faults))
    assert not report.broken, "\n".join([*report.broken, report.lines.text()])
    assert report.figures.fills > 0, "nothing was traded"
    for kind in chosen:
        assert report.injected.get(kind.name, 0) > 0
    assert report.figures.over == 0
    return report


def refusals(report: Report, code: str) -> list[dict[str, Any]]:
    """Return what venues refused with a code."""
    return [f for f in report.lines.events("VENUE", "refused") if f["code"] == code]
