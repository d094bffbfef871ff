PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NPM := PATH="$(CURDIR)/$(BIN):$$PATH" npm

.PHONY: demo test

demo: $(VENV)/runtime.stamp
	rm -rf attn-demo
	$(BIN)/attn capture --backend sdxl --analyze --out attn-demo

test: $(VENV)/dev.stamp node_modules/.package-lock.json
	$(NPM) run --silent check
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy attn examples/attn-toy/src examples/attn-auraflow/src
	$(BIN)/lint-imports --no-logo
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# --group and --build-constraint need a recent pip, so pip comes first.
define install
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--build-constraint constraints.txt --editable . $(1)
	touch $(VENV)/runtime.stamp
endef

$(VENV)/runtime.stamp: pyproject.toml constraints.txt
	$(call install)

$(VENV)/dev.stamp: pyproject.toml constraints.txt
	$(call install,--group dev)
	touch $@

# node and npm come with pip; what npm installs checks the page's code, and is no part of attn.
node_modules/.package-lock.json: package.json package-lock.json $(VENV)/dev.stamp
	$(NPM) ci --ignore-scripts --silent
