"""``make soak SEEDS=500 FROM=1``: the real core against the engines under random chaos, by seed.

Prints each failing seed with its trace; ``SEEDS=1 FROM=<seed>`` replays exactly that one.
"""

import argparse
import random  # noqa: TID251 - each episode is drawn from its seed
import sys
import traceback

from strategy.domain import Ns, plain
from strategy.params import HedgeMode, Params, PrimaryMode
from tests.builders import LIMITS, SECOND, params, qty
from tests.harness import Chaos
from tests.property.test_core_vs_simulator import check_end, run


def drawn(seed: int) -> tuple[Params, Chaos]:
    """Draw one episode's settings and faults."""
    rng = random.Random(seed)  # noqa: S311 - an episode, not a secret
    settings = params(
        iterations=rng.choice([0, 2, 3]),
        size=qty(rng.choice(["0.2", "0.4", "0.5", "1.0"])),
        max_position=qty("1.2"),
        fill_timeout=Ns(rng.choice([1, 2, 5]) * SECOND),
        hedge_mode=rng.choice(list(HedgeMode)),
        primary_mode=rng.choice(list(PrimaryMode)),
        max_unhedged=Ns(rng.choice([4, 8, 15]) * SECOND),
    )
    chaos = Chaos(
        ack_lost=rng.choice([0, 60, 200]),
        never_arrived=rng.choice([0, 40, 150]),
        late=rng.choice([0, 40, 150]),
        message_lost=rng.choice([0, 60, 300]),
        message_twice=rng.choice([0, 80, 300]),
        slow_message=rng.choice([0, 60, 200]),
        read_fails=rng.choice([0, 100, 400]),
    )
    return settings, chaos


def episode(seed: int) -> str:
    """Run one episode; return what it did, or raise AssertionError with what it broke."""
    settings, chaos = drawn(seed)
    h = run(seed, settings, chaos, 90)
    try:
        check_end(h, LIMITS)
        naked = plain(h.core.world.naked_integral // SECOND)
        return f"{len(h.sent)} orders, {naked} base-seconds naked"
    finally:
        h.journal.close()


def main() -> int:
    """Run the seeds; exit 1 when any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--from", type=int, default=1, dest="first")
    args = parser.parse_args()
    failed = 0
    for seed in range(args.first, args.first + args.seeds):
        try:
            said = episode(seed)
        except AssertionError:
            failed += 1
            sys.stdout.write(f"seed {seed} FAILED\n{traceback.format_exc(limit=-6)}\n")
        else:
            if args.seeds == 1 or seed % 50 == 0:
                sys.stdout.write(f"seed {seed}: {said}\n")
    sys.stdout.write(f"{args.seeds} seeds, {failed} failed\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
