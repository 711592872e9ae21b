# make run    everything needed, then the main job on the simulated array (ARGS="--no-gui --json -")
# make test   everything needed, then all tests
# make bars   the long tables: many seeds, Monte Carlo, soak, disk
# TORCH_INDEX=URL  another wheel index for torch; PYTHON=python3.12  another interpreter
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
TORCH_INDEX ?=
PYTEST_ARGS ?=
RUN_DEBS := libiio0 libegl1 libgl1 libfontconfig1 libdbus-1-3 libxkbcommon-x11-0 libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1 libxcb-shape0 libxcb-xkb1
TEST_DEBS := $(RUN_DEBS) libiio-utils libhamlib-utils python3-soapysdr soapysdr-module-remote soapysdr-tools xvfb xdotool
# programs that read our exports; what they recommend (Java, manuals) is not needed
READER_DEBS := octave gcc libc6-dev
TEST_ENV := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 QT_QPA_PLATFORM=offscreen
# what only computes would make those late that stream in real time: one after the other, two at a time each
COMPUTING := tests/architecture tests/golden tests/physics tests/unit
STREAMING := tests/conformance tests/gui tests/perf tests/system
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run test bars lint docs clean system-run system-test
.DELETE_ON_ERROR:

run: system-run $(VENV)/.run
	@$(BIN)/hil demo $(ARGS)

test: system-test $(VENV)/.test
	@failed=0; log=$$(mktemp); \
	  $(MAKE) --no-print-directory lint >"$$log" 2>&1 & lint=$$!; trap 'kill $$lint 2>/dev/null; rm -f "$$log"' EXIT; \
	  $(TEST_ENV) $(BIN)/python -m pytest -m "not slow and not hardware" -n 2 $(COMPUTING) $(PYTEST_ARGS) || failed=1; \
	  wait $$lint || failed=1; cat "$$log"; \
	  $(TEST_ENV) $(BIN)/python -m pytest -m "not slow and not hardware" -n 2 --dist loadfile $(STREAMING) $(PYTEST_ARGS) || failed=1; \
	  exit $$failed

bars: system-test $(VENV)/.test
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -m slow --timeout 7200 tests
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python tests/bars/run_all.py

lint: $(VENV)/.test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/basedpyright --level error
	@$(BIN)/lint-imports --no-logo
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir $(VENV)/site

docs: $(VENV)/.test
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

$(VENV)/bin/python:
	@echo "hil: making the virtual environment $(VENV)" >&2
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "hil: $(PYTHON) is older than 3.11; name a newer one: make run PYTHON=python3.12" >&2; exit 3; }
	@$(PYTHON) -m venv $(VENV) >&2 || { rm -rf $(VENV); echo "hil: no venv module; install it: apt-get install python3-venv" >&2; exit 3; }

$(VENV)/.torch: $(VENV)/bin/python constraints.txt
	@echo "hil: installing torch ($(if $(TORCH_INDEX),from $(TORCH_INDEX),where only the public index is at hand this is the CUDA build of several GB: TORCH_INDEX= names another))" >&2
	@$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch >&2
	@touch $@

$(VENV)/.run: $(VENV)/.torch pyproject.toml constraints.txt
	@echo "hil: installing the pinned packages" >&2
	@$(PIP) --editable . >&2
	@touch $@

$(VENV)/.test: $(VENV)/.run pyproject.toml constraints.txt
	@echo "hil: installing the test tools" >&2
	@$(PIP) --editable '.[dev]' >&2
	@touch $@

# System packages: installed when root on Debian or Ubuntu, else named with their command and never skipped silently.
define install_debs
	@missing=""; for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "hil: installing system packages:$$missing" >&2; \
	    { DEBIAN_FRONTEND=noninteractive apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(2) $$missing; } >&2 </dev/null \
	      || echo "hil: could not install$$missing; what needs them says so" >&2; \
	  else echo "hil: missing system packages; install them with: sudo apt-get install$$missing" >&2; fi; fi
endef

system-run:
	$(call install_debs,$(RUN_DEBS) $(if $(wildcard /usr/lib/python3*/ensurepip/__main__.py),,$(if $(filter python3,$(PYTHON)),$(if $(filter /usr/bin/%,$(shell command -v $(PYTHON))),python3-venv))))

system-test:
	$(call install_debs,$(TEST_DEBS) $(if $(wildcard /usr/lib/python3*/ensurepip/__main__.py),,$(if $(filter python3,$(PYTHON)),$(if $(filter /usr/bin/%,$(shell command -v $(PYTHON))),python3-venv))))
	$(call install_debs,$(READER_DEBS),--no-install-recommends)

clean:
	@rm -rf $(VENV) build dist site .pytest_cache .ruff_cache .hypothesis
