# `make` lists the targets. Each sets up what it needs, once: a virtual environment in .venv.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test bench bench-quick fuzz chaos chaos-real compose-secrets check format messages clean
.DELETE_ON_ERROR:

PYTHON := .venv/bin/python
PIP_INSTALL := PIP_DISABLE_PIP_VERSION_CHECK=1 $(PYTHON) -m pip install -qq -c constraints.txt
TESTERS := 3 # side by side, each with servers of its own; with ARGS it is one, and prints as it goes
# They wait much of the time, so three keep two cores busy.
# Drills kill servers and wait for what comes: a busy machine can starve one. It is run once more, and the summary says so.
AGAIN := --reruns 1 -r R
COUNT ?= 100000 # messages of the fuzzing; a quarter of an hour
SEEDS ?= 1000 # of the simulation; two minutes on two cores
NEEDS := setup.cfg pyproject.toml constraints.txt

# Says for which checkout .venv was made: a copied one points at its origin and is made anew.
ifneq ($(shell cat .venv/made-for 2>/dev/null),$(CURDIR))
.PHONY: .venv/made-for
endif

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|' 2>/dev/null \
		|| sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1: \2/p' Makefile

demo: .venv/runs ## run the service on this machine, with nothing else installed, and watch payments go through
	@$(PYTHON) -m ops.demo
	@$(PYTHON) -m tests.examples

test: .venv/develops ## run the tests on a real RabbitMQ and PostgreSQL; ARGS="tests/ledger -x" is handed to pytest
	@echo "Running the tests ..."
	@$(PYTHON) -m pytest $(if $(ARGS),$(ARGS),-n $(TESTERS) --dist loadfile --no-loadscope-reorder $(AGAIN))

chaos: .venv/develops ## simulate crashes at every edge of the money, then find planted bugs; SEEDS=10000
	@$(PYTHON) -m tests.simulation --seeds $(SEEDS) --planted $(ARGS)

fuzz: .venv/develops ## send card numbers in every place and form, then search for what is left (15 min); COUNT=2000
	@$(PYTHON) -m tests.fuzz --count $(COUNT) $(ARGS)

chaos-real: .venv/develops ## kill, stop, freeze and cut real servers under load, then judge (15 min); ARGS="--seed 7 --minutes 5"
	@$(PYTHON) -m tests.chaos_real $(ARGS)

bench: .venv/develops ## measure it beside celery, dramatiq, FastStream, kombu and pika (15 min); ARGS="--json figures.json"
	@$(PYTHON) -m bench $(ARGS)

bench-quick: .venv/develops ## a round of it in under three minutes, for daily use
	@$(PYTHON) -m bench --quick $(ARGS)

compose-secrets: ## make the passwords for compose.yaml, in .payments-compose
	@python3 ops/compose_secrets.py

check: .venv/develops ## check format, lint, types and import rules
	@echo "Checking the format ..." && $(PYTHON) -m ruff format --check --quiet --output-format=concise . \
		|| { echo "Not formatted: run 'make format'."; exit 1; }
	@echo "Checking with ruff ..." && $(PYTHON) -m ruff check --quiet .
	@echo "Checking the types ..." && $(PYTHON) -m mypy --no-error-summary
	@echo "Checking who imports whom ..." && .venv/bin/lint-imports --no-logo > .venv/imports.log \
		|| { cat .venv/imports.log; exit 1; }
	@echo "All checks passed."

format: .venv/develops ## format the code and mend what ruff can mend by itself
	@echo "Formatting ..." && $(PYTHON) -m ruff format --quiet . && $(PYTHON) -m ruff check --fix --quiet .

messages: .venv/develops ## write docs/messages anew from the message classes
	@echo "Writing docs/messages ..." && $(PYTHON) -m ops.message_docs

clean: ## remove what make and the tools have made
	@echo "Removing .venv, .servers, .payments-demo and caches ..."
	@rm -rf .venv .servers .payments-demo build dist htmlcov .coverage .hypothesis *.egg-info
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/made-for:
	@found=; for python in python3 python3.14 python3.13 python3.12 python3.11; do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		found=$$python; \
		$$python -c 'import venv, ensurepip' 2>/dev/null && break; \
		found="$$found without venv"; \
	done; \
	case "$$found" in \
	"") echo "Python 3.11 or newer is needed, and no such python3 is in PATH."; exit 1;; \
	*" without venv") echo "Python's venv is missing: on Debian and Ubuntu, apt-get install python3-venv."; exit 1;; \
	esac; \
	echo "Making a virtual environment in .venv with $$($$found --version) ..."; \
	rm -rf .venv && $$found -m venv .venv && printf '%s' "$(CURDIR)" > .venv/made-for

.venv/runs: .venv/made-for $(NEEDS)
	@echo "Installing what the service needs (half a minute, once) ..."
	@$(PIP_INSTALL) -e '.[examples]' && touch $@

.venv/develops: .venv/made-for $(NEEDS)
	@echo "Installing what the service and its tests need (a minute, once) ..."
	@$(PIP_INSTALL) -e '.[dev,jobs,examples,bench]' && touch .venv/runs $@
