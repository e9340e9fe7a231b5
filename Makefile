# Two commands do everything: `make search` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: install search test lint clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

search: install  ## the best student of a ResNet-110 below 1 M parameters; ARGS adds settings
	$(BIN)/python -m diswot.search space=s1 teacher=resnet110 $(ARGS)

test: install  ## ARGS are pytest's
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache
