# Everything a contributor types. Needs make and a Python of at least 3.11; `setup` makes the rest
# in .venv, once: the stamp files there are newer than what they were made from.

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	then echo $$p; break; fi; done)
RUN := .venv/bin/python -m
PY_FILES := src tests examples tools benchmarks
C_FILES = $(shell find src/utvm tests/golden examples -name '*.[ch]' 2>/dev/null | sort)

.PHONY: demo setup check test quick format clean
.DEFAULT_GOAL := demo

demo: .venv/.stamp-run
	.venv/bin/python examples/digits/demo.py

setup: .venv/.stamp-dev

.venv/.stamp-run: pyproject.toml requirements.txt tools/make_venv.py
	@test -n "$(PYTHON)" || { echo "utvm needs Python 3.11 or newer; none was found" >&2; exit 1; }
	$(PYTHON) tools/make_venv.py requirements.txt
	@touch $@

.venv/.stamp-dev: .venv/.stamp-run requirements-dev.txt
	$(PYTHON) tools/make_venv.py requirements-dev.txt
	@touch $@

check: .venv/.stamp-dev
	$(RUN) ruff format --check $(PY_FILES)
	$(RUN) ruff check $(PY_FILES)
	$(RUN) mypy
	.venv/bin/lint-imports --no-logo
	$(if $(C_FILES),.venv/bin/clang-format --dry-run -Werror $(C_FILES))

test: check
	$(RUN) pytest -n 2

quick: .venv/.stamp-dev
	$(RUN) pytest -n 2 -m "not slow"

format: .venv/.stamp-dev
	$(RUN) ruff check --fix $(PY_FILES)
	$(RUN) ruff format $(PY_FILES)
	$(if $(C_FILES),.venv/bin/clang-format -i $(C_FILES))

clean:
	rm -rf .venv build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	rm -rf src/*.egg-info
	find src tests examples tools -name __pycache__ -type d -prune -exec rm -rf {} +
