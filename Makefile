# Two commands do everything: `make search` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
TABLES ?= s0_ablation nasbench201 kd_proxies init_and_teacher

.PHONY: install search tables test lint docs clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

search: install  ## the best student of a ResNet-110 below 1 M parameters; ARGS adds settings
	$(BIN)/python -m diswot.search space=s1 teacher=resnet110 strategy.evaluations=250 $(ARGS)

tables: install  ## the paper's tables at small scale; the commands are those of each table.yaml
	set -e; for table in $(TABLES); do \
		commands=$$($(BIN)/python -m diswot.tables experiments/$$table); \
		sh -exc "$$commands"; \
		$(BIN)/python -m diswot.report experiments/$$table --collect; \
	done

test: install  ## ARGS are pytest's
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install  ## tables of members in README and docs, from the YAML files and stored results
	$(BIN)/python tools/docs.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
