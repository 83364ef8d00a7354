# make run      the demonstration: registrar, service and two applications      make run SECONDS=20
# make shared-line   three programs on one registration at a real SIP server, and what is left when one is killed
# make serve    the service alone, with its store in ./var
# make test     everything a change must pass, in less than 10 minutes          make test-long for the rest
# make native   compile the core's quick path again        make native-check   its tests with the sanitizers
# make lint     ruff, mypy and the C compiler's warnings        make clean   what make made, but ./var
# make bench    the benchmarks, 20 min        make bench-publish   the table, the plots and the README from it

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
SECONDS ?=
PYTEST_ARGS ?=

.NOTPARALLEL:
.PHONY: help run shared-line serve setup native native-check test-without-native test test-long lint bench bench-publish counterparts clean

help:
	@grep '^# make' $(MAKEFILE_LIST) | cut -c3-

# ---- what is installed; a stamp file says that it was, so that a second call is quick

$(VENV)/.created:
	@sh scripts/make-venv $(VENV)
	@touch $@

$(VENV)/.server: $(VENV)/.created pyproject.toml
	@echo "installing sipprofile[server] into $(VENV)"
	@$(PIP) install -e '.[server]'
	@touch $@

$(VENV)/.dev: $(VENV)/.created pyproject.toml examples/agent-acme/pyproject.toml
	@echo "installing sipprofile[server,dev] and the example agent into $(VENV)"
	@$(PIP) install -e '.[server,dev]'
	@$(PIP) install --no-deps -e examples/agent-acme
	@$(PIP) install --only-binary atheris -e '.[fuzz]' || echo "no wheel of atheris for this platform: fuzzing is skipped"
	@touch $@ $(VENV)/.server

# without a compiler the core runs in Python; it is tried again by the next make, and is an error where CI is set
$(VENV)/.native: $(VENV)/.created $(wildcard native/*) src/sipprofile/__init__.py
	@if sh scripts/build-native $(BIN)/python; then touch $@; else test -z "$$CI" -o "$$SIPPROFILE_NATIVE" = 0; fi

setup: $(VENV)/.dev $(VENV)/.native

native:
	@rm -f src/sipprofile/_native*.so
	@sh scripts/build-native $(BIN)/python

native-check: setup
	@sh scripts/check-native $(BIN)/python

counterparts: $(VENV)/.created
	@sh scripts/install-counterparts $(BIN)/python

# ---- run

run: $(VENV)/.server $(VENV)/.native
	@exec $(BIN)/python examples/demo/main.py --state var $(if $(SECONDS),--seconds $(SECONDS))

shared-line: $(VENV)/.server counterparts $(VENV)/.native
	@exec $(BIN)/python examples/shared-line/main.py

serve: $(VENV)/.server $(VENV)/.native
	@exec $(BIN)/sipprofile serve --state var --socket var/sock

# ---- test

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	sh scripts/build-native $(BIN)/python --check || test $$? = 77 -a -z "$$CI"

test: counterparts setup lint
	$(BIN)/python -m pytest -m "not long" -n 4 --dist loadfile $(PYTEST_ARGS)
	$(if $(PYTEST_ARGS),,@if ls src/sipprofile/_native*.so >/dev/null 2>&1; then \
		$(MAKE) --no-print-directory test-without-native; fi)

# what has a second form in C, once more in Python: the quick ones of the core's tests
CORE_TESTS = $(filter-out %_keepalive.py %_outbound.py %_pacing.py %_pains.py %_random.py,$(wildcard \
	tests/unit/test_machine*.py tests/unit/test_plain*.py tests/unit/test_digest*.py))
SEEDS = $(foreach seed,1 2 3 4 5 6,"tests/unit/test_machine_random.py::test_anything_may_happen[$(seed)]") \
	$(foreach seed,1 2,"tests/simulation/test_seeds_first.py::TestEveryPromiseIsKept::test_seed[$(seed)]")

test-without-native: setup
	SIPPROFILE_NATIVE=0 $(BIN)/python -m pytest -m "not long" -n 2 $(CORE_TESTS) $(SEEDS) \
		-k "not test_both_come_to_the_same and not test_soon_after and not (TestSpoilt and not kamailio)"

test-long: counterparts setup native-check
	$(BIN)/python -m pytest -m long -n 2 $(PYTEST_ARGS)

bench: setup
	@sh scripts/install-bench-peers $(BIN)/python
	$(BIN)/python -m benchmarks.peers --minutes 12 --json benchmarks/build/peers.json --plots benchmarks/build
	$(BIN)/python -m benchmarks.targets --minutes 5 --json benchmarks/build/targets.json --markdown benchmarks/build/targets.md
	$(BIN)/python -m benchmarks --no-refresh
	$(BIN)/python -m benchmarks.parsers
	$(BIN)/python -m benchmarks.sharing
	$(BIN)/python -m benchmarks.messages

bench-publish: setup
	@sh scripts/install-bench-peers $(BIN)/python
	$(BIN)/python -m benchmarks.peers --minutes 20 --publish
	$(BIN)/python -m benchmarks.targets --minutes 6 --json benchmarks/published/targets.json --markdown benchmarks/build/targets.md
	$(BIN)/python -m benchmarks.splice benchmarks/README.md targets benchmarks/build/targets.md

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist benchmarks/build
	rm -f src/sipprofile/_native*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +
	@if [ -d var ]; then echo "./var (the store of make run and make serve) is kept"; fi
