# Every target works from a fresh clone: the set-up runs first, and again when the lock changes.
#   make run ARGS="--ticker ETH --size 1.0 --iter 2"     make test TESTS=tests/unit
#   make PYTHON=python3.12 setup                         (3.11 to 3.13)
PYTHON ?= python3
ARGS ?= --ticker ETH --size 0.5 --iter 5
TESTS ?= tests
ARRIVALS ?= 100
SEEDS ?= 500
FROM ?= 1
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet

.PHONY: run test coverage check bench soak setup clean

# The simulated venues are new with every run, so their journal is too, unless it is latched: a
# latch stays until `hedged resume`. Journals of other modes are never touched.
run: $(READY)
	@if [ -e state/sim.db ] && $(BIN)/hedged status --venues sim 2>/dev/null | grep -q '^mode *RUNNING$$'; then \
	  flock --nonblock state/lease rm -f state/sim.db state/sim.db-wal state/sim.db-shm || true; fi
	@$(BIN)/hedged --log-format console $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(TESTS)

# The suite again, measured: every branch of strategy/ and safety/, every except arm of the tree.
coverage: $(READY)
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m coverage run -m pytest -p tests.coverage_gate --numprocesses 2 --dist loadfile --timeout 240 $(TESTS)
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m tests.coverage_gate

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# Requests a second on the wire, simulated seconds a second, and the router against its baselines.
bench: $(READY)
	@$(BIN)/python -m tests.bench.wire
	@$(BIN)/python -m tests.bench.virtual
	@$(BIN)/hedged bench routing --arrivals $(ARRIVALS)
	@$(BIN)/hedged bench latency

# The core under random faults, by seed: make soak SEEDS=2000 FROM=1; SEEDS=1 FROM=n replays n.
soak: $(READY)
	@$(BIN)/python -m tests.soak --seeds $(SEEDS) --from $(FROM)

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "hedged needs Python 3.11 to 3.13; name one, for example: make PYTHON=python3.12 setup"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ]; then apt-get update -qq && apt-get install -y -qq python3-venv; \
	  else echo "python3-venv is missing; type: sudo apt-get install -y python3-venv"; exit 1; fi; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@$(PIP) --require-hashes --only-binary :all: -r requirements.lock
	@$(PIP) --no-index --no-deps --no-build-isolation --editable .
	@touch $(READY)

# Never touches state/ or logs/: they may hold the only record of real orders.
clean:
	@rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.*
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
