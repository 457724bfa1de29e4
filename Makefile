# The commands people type. `make help` prints the comments that follow the targets. Linux, Python 3.11 or later.
# A virtual environment is made in .venv by whichever target needs it first, and again when a requirement changes.
# ARGS passes on words: make test ARGS="-k lease", make demo ARGS="--help".

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo up test bench chaos mutants soak check fmt venv clean

PY := .venv/bin/python
STAMP := .venv/.installed
# The first Python that will do; those the pinned packages are known to have wheels for come first.
FIND_PYTHON = for p in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.14 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

help: ## Say what can be done
	@sed -n 's/^\([a-z][a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

demo: $(STAMP) ## Show a whole sync between sandbox vendors, from nothing, in one go (ARGS=...)
	@.venv/bin/bothways demo $(ARGS)

up: $(STAMP) ## Run the whole stack here until Ctrl-C; data in .bothways (ARGS=...)
	@.venv/bin/bothways up $(ARGS)

test: $(STAMP) ## Run all tests (ARGS="-k name")
	@$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

bench: $(STAMP) ## Measure speed beside what bounds it, 20 minutes; writes bench.json (ARGS="--only latency")
	@$(PY) -m tests.bench $(ARGS)

chaos: $(STAMP) ## Play the fault matrix, 25 minutes at most; writes chaos.json (ARGS="--only redis_kill")
	@$(PY) -m tests.chaos $(ARGS)

mutants: $(STAMP) ## Show that the auditor catches each broken promise, in ten minutes (ARGS="--only no_intent")
	@$(PY) -m tests.mutants $(ARGS)

soak: $(STAMP) ## All faults at random for half an hour (ARGS="--minutes 5")
	@$(PY) -m tests.chaos.soak $(ARGS)

check: $(STAMP) ## Lint, format, types, import arrows, and migrations in step with the models
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	.venv/bin/lint-imports
	$(PY) -m deploy.local.throwaway $(PY) -m shared.db.migrate --check

fmt: $(STAMP) ## Format the code and mend what can be mended without thought
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

venv: $(STAMP) ## Only make the virtual environment

clean: ## Remove the virtual environment and the tools' caches; what a stack keeps in .bothways stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): requirements.txt requirements-dev.txt pyproject.toml
	@test -x $(PY) && $(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  python=$$($(FIND_PYTHON)); \
	  test -n "$$python" || { echo "Python 3.11 or later is needed (on Debian: apt install python3)."; exit 1; }; \
	  "$$python" -c 'import venv, ensurepip' 2>/dev/null || { \
	    echo "This Python cannot make virtual environments (on Debian: apt install python3-venv)."; exit 1; }; \
	  echo "Making a virtual environment in .venv with $$("$$python" --version) ..."; \
	  rm -rf .venv; "$$python" -m venv .venv; }
	@echo "Installing the pinned packages (about a minute) ..."
	@$(PY) -m pip install --quiet -r requirements.txt -r requirements-dev.txt
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)
