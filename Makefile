# Two commands do all the set-up: `make demo` and `make test`. Everything is installed into .venv;
# a stamp file in there says what has been done, so a second run starts at once.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip --disable-pip-version-check install --quiet
ARGS   ?=
CUDA   ?= 12

.PHONY: help demo data results test test-gpu lint parity bench clean dot texts
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help: ## say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(VENV)/.demo dot ## train on real names and leave pictures of BPTT in out/ (ARGS="..." is passed on)
	@mkdir -p out
	$(PY) -m examples.names $(ARGS)

data: $(VENV)/.data texts ## bring the real data of all examples: packages, and texts unpacked into ~/.cache

results: data ## run every example over three seeds and write docs/results.md (ARGS="vowels" for one)
	$(PY) -m examples.results $(ARGS)

test: $(VENV)/.dev ## run the tests (ARGS="-k lstm" is passed on to pytest); needs no PyTorch
	$(PY) -m pytest $(ARGS)

test-gpu: $(VENV)/.dev $(VENV)/.cupy ## run the tests on CuPy, beside NumPy (CUDA=13 for CUDA 13); needs an NVIDIA GPU
	$(PY) -m tinygrad_rnn.doctor
	$(PY) -m pytest -m gpu $(ARGS)

lint: $(VENV)/.dev ## ruff and mypy
	$(PY) -m ruff check .
	$(PY) -m mypy

parity: $(VENV)/.dev $(VENV)/.torch ## install PyTorch and compare with it: values and all gradients
	$(PY) -m pytest tests/parity $(ARGS)

bench: $(VENV)/.dev ## measure against peers, as ratios in one run
	$(PY) -m benchmarks $(ARGS)

clean: ## remove the environment, the pictures and all caches
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- set-up --------------------------------------------------------------------------------------------

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "tinygrad_rnn needs Python 3.10 or newer; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV) || \
	    { echo "$(PYTHON) cannot make virtual environments (on Debian: apt-get install python3-venv)" >&2; exit 1; }
	@touch $@

$(VENV)/.demo: $(VENV)/.made pyproject.toml
	@echo "Installing what the demo needs (NumPy, matplotlib, ...) ..."
	$(PIP) --editable '.[train,plots,examples]'
	@touch $@

$(VENV)/.data: $(VENV)/.made pyproject.toml
	@echo "Installing the packages that carry the data (aeon, statsmodels, ...) ..."
	$(PIP) --editable '.[train,plots,examples,data,fast]'
	@touch $@

$(VENV)/.dev: $(VENV)/.made pyproject.toml
	@echo "Installing what the tests need (pytest, ruff, mypy, ...) ..."
	$(PIP) --editable '.[dev]'
	@touch $@

$(VENV)/.torch: $(VENV)/.made
	@echo "Installing PyTorch, to compare with (a large download) ..."
	$(PIP) torch==2.13.0
	@touch $@

$(VENV)/.cupy: $(VENV)/.made pyproject.toml
	@echo "Installing CuPy for CUDA $(CUDA) ..."
	$(PIP) --editable '.[cuda$(CUDA)]'
	@touch $@

# Debian's texts need no installation: they are unpacked where examples/data.py looks. Never fail over them.
TEXTS  := bible-kjv-text sword-text-kjv sword-text-sparv
CACHE   = $${XDG_CACHE_HOME:-$$HOME/.cache}/tinygrad_rnn/debian
texts:
	@mkdir -p "$(CACHE)"; folder=$$(mktemp -d); cd "$$folder"; \
	apt-get download $(TEXTS) >/dev/null 2>&1 || { apt-get update && apt-get download $(TEXTS); } >/dev/null 2>&1; \
	for package in *.deb; do dpkg -x "$$package" "$(CACHE)" 2>/dev/null; done; rm -rf "$$folder"; \
	[ -e "$(CACHE)/usr/lib/bible.data" ] || \
	    echo "Debian's $(TEXTS) cannot be had here: give examples.bible and examples.translation files of your own."

# Graphviz's `dot` is welcome, not needed. Only take it where the rights are at hand; never fail over it.
dot:
	@have() { command -v "$$1" >/dev/null 2>&1; }; \
	apt() { $$1 apt-get install -y graphviz || { $$1 apt-get update && $$1 apt-get install -y graphviz; }; }; \
	have dot && exit 0; \
	export DEBIAN_FRONTEND=noninteractive; \
	if have apt-get && [ "$$(id -u)" = 0 ]; then \
	    echo "Installing Graphviz with apt-get ..."; apt "" >/dev/null 2>&1; \
	elif have apt-get && have sudo && sudo -n true 2>/dev/null; then \
	    echo "Installing Graphviz with apt-get ..."; apt "sudo -n" >/dev/null 2>&1; \
	elif have brew; then \
	    echo "Installing Graphviz with brew ..."; brew install graphviz >/dev/null 2>&1; \
	fi; \
	have dot || echo "Graphviz's dot is missing, so pictures come as SVG only; for PNG and PDF install the package 'graphviz' (apt, dnf, brew, winget)."
