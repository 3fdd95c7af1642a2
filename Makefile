# kacflow: `make help` lists the targets. Needs python3 (>= 3.10) and a C++17 compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DOCS := .venv-docs
TORCH := torch==2.13.0
TORCHCFM := torchcfm==1.0.7  # its requirements bring torchvision, and with it another torch
SOURCES := $(shell find csrc kacflow_core python -name '*.py' -o -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.txt' -o -name '*.json')
PYTHON_FILES := setup.py kacflow_core python benchmarks docs scripts tests
CXX_FILES := $(shell find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' | grep -v coefficients.h)

.PHONY: help test check demo lint format bench docs sanitize develop clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(VENV)/.deps: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q $(TORCH)
	$(BIN)/python scripts/requirements.py > $(VENV)/requirements.txt
	$(BIN)/python -m pip install -q -r $(VENV)/requirements.txt
	$(BIN)/python -m pip install -q --no-deps $(TORCHCFM)
	@touch $@

$(VENV)/.installed: $(VENV)/.deps setup.py $(SOURCES)
	$(BIN)/python -m pip install -q --no-deps --force-reinstall .
	@touch $@

test: lint $(VENV)/.installed  ## lint, doctests and tests, against the installed package
	cd tests && ../$(BIN)/python -m pytest -q -n 2 --dist loadfile --doctest-modules \
		--pyargs . kacflow_core kacflow

demo: $(VENV)/.installed  ## train on handwritten digits and draw new ones into runs/demo
	cd tests && ../$(BIN)/python -m kacflow.demo --out "$(CURDIR)/runs/demo"

lint: $(VENV)/.deps  ## ruff, clang-format and mypy
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	$(BIN)/mypy

format: $(VENV)/.deps  ## rewrite the sources in the house style
	$(BIN)/ruff check --fix $(PYTHON_FILES)
	$(BIN)/ruff format $(PYTHON_FILES)
	$(BIN)/clang-format -i $(CXX_FILES)

# An environment on top of $(VENV): it sees kacflow and torch there, and puts nothing there.
$(DOCS)/.deps: $(VENV)/.deps
	$(BIN)/python -m venv $(DOCS)
	packages="import sysconfig; print(sysconfig.get_path('purelib'))"; \
		$(BIN)/python -c "$$packages" > "$$($(DOCS)/bin/python -c "$$packages")/kacflow.pth"
	$(BIN)/python scripts/requirements.py docs > $(DOCS)/requirements.txt
	$(DOCS)/bin/python -m pip install -q -r $(DOCS)/requirements.txt
	@touch $@

docs: $(VENV)/.installed $(DOCS)/.deps  ## build the site into site/ and check its links and names
	$(DOCS)/bin/sphinx-build -q -W --keep-going -d build/doctrees docs site
	$(DOCS)/bin/python scripts/check_site.py site

sanitize:  ## the C++ core under AddressSanitizer and UndefinedBehaviorSanitizer
	scripts/sanitize.sh

bench: $(VENV)/.installed  ## the short benchmarks; ARGS="--full --json FILE" and the like for more
	$(BIN)/python -m benchmarks $(ARGS)

develop: $(VENV)/.deps  ## build the extension in place, for work on the sources
	$(BIN)/python setup.py build_ext --inplace

clean:  ## remove what was built
	rm -rf build site *.egg-info $(VENV) $(DOCS) kacflow_core/_native*.so kacflow_core/_cuda*.so
