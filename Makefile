# kacflow: `make help` lists the targets. Needs python3 (>= 3.10) and a C++17 compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTHON_LOWEST ?= python3.10
LOWEST := .venv-lowest
# What fails with torch 2.5.
NOT_LOWEST := compil or export or nested_vmap or one_graph or opcheck
WHEELS := .venv-wheels
DOCS := .venv-docs
TORCH := torch==2.13.0
TORCHCFM := torchcfm==1.0.7  # its requirements bring torchvision, and with it another torch
SOURCES := $(shell find csrc kacflow_core python -name '*.py' -o -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.txt' -o -name '*.json')
PYTHON_FILES := setup.py kacflow_core python benchmarks docs scripts tests
CXX_FILES := $(shell find csrc tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' | grep -v coefficients.h)

.PHONY: help test test-lowest demo docs wheels lint forge format bench sanitize develop clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

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

$(LOWEST)/.installed: pyproject.toml setup.py $(SOURCES)
	$(PYTHON_LOWEST) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install -q --upgrade pip uv
	VIRTUAL_ENV=$(LOWEST) $(LOWEST)/bin/uv pip install -q --resolution lowest-direct -r pyproject.toml
	VIRTUAL_ENV=$(LOWEST) $(LOWEST)/bin/uv pip freeze > $(LOWEST)/lowest.txt
	$(LOWEST)/bin/python -m pip install -q -c $(LOWEST)/lowest.txt hypothesis mpmath pytest \
		pytest-xdist scipy setuptools torchdiffeq
	KACFLOW_NATIVE=1 $(LOWEST)/bin/python -m pip install -q --no-deps .
	@touch $@

test-lowest: $(LOWEST)/.installed  ## tests of the core and of the torch layer, with the lowest versions of everything
	cd tests && ../$(LOWEST)/bin/python -m pytest -q -n 2 --dist loadfile core torch \
		-k "not ($(NOT_LOWEST))"

wheels: $(WHEELS)/.deps  ## source distribution and wheels into dist/, each tried; ARGS="--arch aarch64" and the like
	$(WHEELS)/bin/python scripts/make_wheels.py $(ARGS)

$(WHEELS)/.deps: pyproject.toml
	$(PYTHON) -m venv $(WHEELS)
	$(WHEELS)/bin/python -m pip install -q --upgrade pip
	$(WHEELS)/bin/python -m pip install -q --group wheels
	@touch $@

demo: $(VENV)/.installed  ## train on handwritten digits and draw new ones into runs/demo
	cd tests && ../$(BIN)/python -m kacflow.demo --out "$(CURDIR)/runs/demo"

lint: $(VENV)/.deps  ## ruff, clang-format and mypy
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	$(BIN)/mypy

forge: $(WHEELS)/.deps  ## check the workflow files and CITATION.cff
	$(WHEELS)/bin/python -m pip install -q --group forge
	$(WHEELS)/bin/zizmor --offline .github
	$(WHEELS)/bin/yamllint --strict -c .github/yamllint.yml .github CITATION.cff
	$(WHEELS)/bin/cffconvert --validate

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
	rm -rf build dist site jupyter_execute *.egg-info $(VENV) $(LOWEST) $(WHEELS) $(DOCS) kacflow_core/_native*.so kacflow_core/_cuda*.so
