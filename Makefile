# make demo, make test and make lint set up .venv themselves, make test-openmmlab its own
# environment; PYTHON chooses the interpreter.
PYTHON ?= python3
# Threads that spin while they wait slow down a busy machine many times; a short while costs nothing.
# The tools set this too.
ifndef OMP_WAIT_POLICY
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT ?= 1000
endif
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
OPENMMLAB := .venv-openmmlab
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

.PHONY: setup demo test test-browser test-openmmlab lint clean

setup: $(VENV)/.installed

# PyTorch goes first, in the version that the tests ran with. mmcv, built in isolation, stays pure
# Python and needs no compiler.
$(VENV)/.installed: setup.cfg
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP_INSTALL) $(TORCH)
	$(BIN)/python $(PIP_INSTALL) --editable '.[onedl,test,dev]'
	touch $@

demo: setup
	$(BIN)/python tools/demo.py --out work_dirs/demo

# Two processes of a thread each, a file of tests at a time.
PARALLEL := -n 2 --dist loadfile

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL)

# The report in a real browser, which is Debian's, as is its driver.
test-browser: setup
	command -v chromium chromedriver || (apt-get update && apt-get install --yes chromium chromium-driver)
	$(BIN)/python $(PIP_INSTALL) --editable '.[browser]'
	$(BIN)/python -m pytest -m browser

# OpenMMLab's own distributions, with a mmcv whose operators are compiled against this PyTorch:
# ten to forty minutes, once. mmcv's setup.py wants PyTorch and pkg_resources, which setuptools had
# up to version 80, so it cannot be built in isolation.
$(OPENMMLAB)/.installed: setup.cfg
	$(PYTHON) -m venv $(OPENMMLAB)
	$(OPENMMLAB)/bin/python $(PIP_INSTALL) $(TORCH) 'setuptools<81' wheel ninja
	PATH=$(CURDIR)/$(OPENMMLAB)/bin:$$PATH MMCV_WITH_OPS=1 CFLAGS=-O1 \
		$(OPENMMLAB)/bin/python $(PIP_INSTALL) --no-build-isolation --no-binary mmcv mmcv==2.1.0
	$(OPENMMLAB)/bin/python $(PIP_INSTALL) --editable '.[openmmlab,test]'
	touch $@

test-openmmlab: $(OPENMMLAB)/.installed
	OMP_NUM_THREADS=1 $(OPENMMLAB)/bin/python -m pytest $(PARALLEL)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) $(OPENMMLAB) build dist *.egg-info
