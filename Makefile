PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE  # or every process of the tests would compile the project anew
INSTALL = $(BIN)/pip install -q --disable-pip-version-check --no-compile  # what is imported is compiled then: a third of it

.PHONY: app test check fuzz train-tiny pictures docs-tables clean

app: $(VENV)/.installed  ## start the app on PORT (8501)
	$(BIN)/python -m streamlit run app/main.py --server.port $(PORT)

test:  ## everything the CI runs; types are checked while tests wait for pages
	$(MAKE) -j2 check tests

.PHONY: tests
tests: $(VENV)/.installed-test chromium
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --timeout 300

check: $(VENV)/.installed-test  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: chromium
chromium:  ## the browser tests need Chromium; install Debian's where there is none
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || command -v chromium-browser >/dev/null || \
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium fonts-noto-core >/dev/null) || \
		(echo "Chromium is needed for the browser tests: install it and run 'make test' again" >&2; exit 1)

$(VENV)/.installed: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) "$$(grep '^torch==' requirements.txt)"
	$(INSTALL) -r requirements.txt
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt
	$(INSTALL) -r requirements-test.txt
	touch $@

MINUTES ?= 5
SEED ?= 0
fuzz: $(VENV)/.installed-test  ## hostile input by chance, MINUTES (5) from SEED (0): tried and survived, by kind
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --seed $(SEED)

train-tiny: $(VENV)/.installed  ## train the tiny model on the CPU, minutes; resumes where it stopped
	$(BIN)/python -m model train configs/tiny.yaml --out runs/tiny $$(test -e runs/tiny/config.yaml && echo --resume)
	$(BIN)/python -m model plot-training runs/tiny --out runs/tiny/emergence.svg

pictures: $(VENV)/.installed-test chromium  ## the README's pictures, from the running app
	$(BIN)/python -m docs.pictures

docs-tables: $(VENV)/.installed  ## the tables of docs/causal.md, from the kinds of edits, node sets and controls
	PYTHONPATH=. $(BIN)/python docs/tables.py

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
