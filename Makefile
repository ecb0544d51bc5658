# What people type, and what CI runs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: demo train-cifar test test-slurm bench wandb-sync lint format docs docs-serve clean

demo: $(READY)  ## train on scikit-learn's digits, analyse every checkpoint, write the report
	@$(BIN)/python -m launch configs/digits.yaml $(ARGS)

train-cifar: $(READY)  ## CIFAR-10 as Nichol & Dhariwal trained it, on all GPUs of this machine
	@$(BIN)/python -m launch.here configs/cifar10.yaml $(ARGS)

# One thread each: several PyTorch processes that take all cores slow each other tenfold.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

test-slurm: $(READY)  ## the tests that need a SLURM: installs it where it is missing (as root), starts it, stops it
	tests/slurm/install.sh
	NOISEMAP_TEST_SLURM=yes OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/slurm $(ARGS)

wandb-sync: $(READY)  ## upload what was logged offline and is not uploaded yet (after wandb login)
	@$(BIN)/wandb sync --yes $(or $(RUNS),runs)/*/wandb/offline-run-*

bench: $(READY)  ## how fast everything is here, beside improved-diffusion (ARGS='--improved-diffusion PATH') and diffusers
	@$(BIN)/python -m benchmarks.bench $(ARGS)

lint: $(READY)
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

docs: $(READY)  ## the documentation as pages: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build && echo "Documentation: site/index.html"

docs-serve: $(READY)  ## the same on http://127.0.0.1:8000 with search, built again whenever a page changes
	$(BIN)/python -m mkdocs serve

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed, $(PYTHON) is `$(PYTHON) --version 2>&1`; use  make PYTHON=python3.11 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
