"""Fixtures of the sessions that clients written by others hold with ``hedged simulate``."""

from collections.abc import Iterator

import pytest
from pysdk import grvt_ccxt_env

from tests.strangers.grvt_faces import ccxt_domains
from tests.strangers.simulation import Simulation, simulating, steady_tape


@pytest.fixture(scope="module")
def simulation(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Simulation]:
    """One simulator process a module.

    A module that sets ``SIMULATE`` (flags such as ``("--book", "synthetic", "--seed", "7")``)
    chooses its market; otherwise it is the steady one of ``steady_tape``.
    """
    folder = tmp_path_factory.mktemp("simulation")
    flags = getattr(request.module, "SIMULATE", None)
    if flags is None:
        flags = ("--book", str(steady_tape(folder / "steady.tape.jsonl")), "--seed", "5")
    with simulating(folder, *flags) as running:
        yield running


@pytest.fixture(scope="module")
def redirected(simulation: Simulation) -> Iterator[Simulation]:
    """Point every ccxt-style GRVT client that is built meanwhile at the simulation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grvt_ccxt_env, "get_grvt_endpoint_domains", ccxt_domains(simulation))
        yield simulation
