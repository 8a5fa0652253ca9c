# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 0
SEEDS ?= 1
COUNT ?= 2000
KILLS ?= 100
OUT ?= runs/demo
DATA ?= ../shared/data

.PHONY: demo test test-media test-oldest test-release test-slow test-real lint docs notebooks dist licences bench fuzz chaos chaos-cluster setup clean

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): minutes, and gigabytes of packages; pip says nothing until it is done."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	touch $@

demo: setup
	$(BIN)/cacl demo --out $(OUT) --seed $(SEED) --seeds $(SEEDS)

test: setup
	$(BIN)/python -m pytest -m 'not slow and not real' -n 2 --dist loadfile

# What reads media alone; with VENV=build/media PYTHON=python3.12 by PyAV 19, which Python 3.11 does not get. Nothing that
# reads media needs PyTorch, so it is not installed: gigabytes, for each Python that the CPU build is not at hand for.
MEDIA := av hypothesis jinja2 numpy pillow pyarrow pydantic pytest pyyaml rich simplejpeg typer

$(VENV)/media: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt $(MEDIA)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

test-media: $(VENV)/media
	$(BIN)/python -m pytest -m 'not slow and not real' tests/data/media tests/data/videos tests/fuzz

# The lower bounds of pyproject.toml and its extras: the demo, data, models and search with the oldest packages that pip may take.
OLDEST := build/oldest

$(OLDEST)/installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-oldest.txt \
		--editable '.[all]' build httpx hypothesis nbclient pillow-heif pytest rapidfuzz
	touch $@

test-oldest: $(OLDEST)/installed
	rm -rf $(OLDEST)/demo
	$(OLDEST)/bin/cacl demo --quick --out $(OLDEST)/demo
	$(OLDEST)/bin/python -m pytest -m 'not slow and not real' tests/data tests/models tests/search tests/test_cli.py \
		tests/test_sklearn.py tests/test_tensorboard.py tests/serving/test_api.py

test-slow: setup
	$(BIN)/python -m pytest -m slow

test-real: setup
	CACL_DATA=$(DATA) $(BIN)/python -m pytest -m real

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/check_file_sizes.py

# A release: dist/ with the sdist, and the wheel that is built from it.
dist: setup
	rm -rf dist
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m build

# The wheel on each Python that is here, with the PyTorch that pip takes for it: gigabytes where that is a build for GPUs.
test-release: setup
	CACL_GPU_TORCH=1 $(BIN)/python -m pytest -m 'slow or not slow' tests/test_wheel.py

# The site of the docs, strict: a page, a link or an anchor that is missing ends it.
$(VENV)/docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

notebooks: setup
	$(BIN)/python docs/site/notebooks.py build/notebooks

licences: setup
	$(BIN)/python tests/licences.py

# Without those that want videos and encoders, and say so.
bench: setup
	for benchmark in $(filter-out %/ladder.py %/motion_only.py %/search_classes.py,$(wildcard benchmarks/*.py)); do \
		$(BIN)/python $$benchmark || exit 1; done

fuzz: setup
	$(BIN)/python tests/fuzz/campaign.py --count $(COUNT) --seed $(SEED)

chaos: setup
	$(BIN)/python tests/chaos/campaign.py --kills $(KILLS) --seed $(SEED)

# The same of what a cluster does: Ray's workers, the command that sends them work, the PostgreSQL that is pushed to.
chaos-cluster: setup
	$(BIN)/python tests/chaos/cluster.py --kills $(KILLS) --seed $(SEED)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
