# make demo, make test and make lint set up .venv themselves; PYTHON chooses the interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0

.PHONY: setup demo test lint clean

setup: $(VENV)/.installed

# PyTorch goes first: its plain name would bring several GB of CUDA packages. mmcv, built in
# isolation, stays pure Python and needs no compiler.
$(VENV)/.installed: setup.cfg
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[onedl,test,dev]'
	touch $@

demo: setup
	$(BIN)/python tools/demo.py --out work_dirs/demo

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) build dist *.egg-info
