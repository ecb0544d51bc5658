# Commands for users and for CI.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/ready

.PHONY: demo train-cifar test test-slurm fuzz chaos bench wandb-sync lint format docs docs-serve clean

demo: $(READY)  ## train on scikit-learn's digits, analyze every checkpoint, write the report
	@$(BIN)/python -m launch configs/digits.yaml $(ARGS)

train-cifar: $(READY)  ## CIFAR-10 with the settings of Nichol & Dhariwal, on all GPUs of this machine
	@$(BIN)/python -m launch.here configs/cifar10.yaml $(ARGS)

# One thread per process: PyTorch processes that compete for all cores run ten times slower.
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 $(ARGS)

test-slurm: $(READY)  ## tests that need SLURM: install it if missing (as root), start it, run the tests, stop it
	tests/slurm/install.sh
	NOISEMAP_TEST_SLURM=yes OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile tests/slurm $(ARGS)

wandb-sync: $(READY)  ## upload offline W&B runs that are not uploaded yet (after wandb login)
	@$(BIN)/wandb sync --yes $(or $(RUNS),runs)/*/wandb/offline-run-*

fuzz: $(READY)  ## read damaged and hostile files, 1,000 per reader (CASES=, SEED=; ARGS='-k checkpoint' selects a reader)
	NOISEMAP_FUZZ_CASES=$(or $(CASES),1000) NOISEMAP_FUZZ_SEED=$(or $(SEED),0) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/fuzz $(ARGS)

chaos: $(READY)  ## break a small study and repair it, 40 times (FAULTS=, SEED=; ARGS='--only 7' repeats a fault); as root
	OMP_NUM_THREADS=1 PYTHONPATH=.:tests $(BIN)/python -m chaos --faults $(or $(FAULTS),40) --seed $(or $(SEED),0) $(ARGS)

bench: $(READY)  ## benchmark against improved-diffusion (ARGS='--improved-diffusion PATH') and diffusers
	@$(BIN)/python -m benchmarks.bench $(ARGS)

lint: $(READY)  ## formatting, ruff, types, vocabulary of the prose
	$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/python -m docs.vocabulary

format: $(READY)  ## format, and fix the lint errors that ruff can fix
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

docs: $(READY)  ## build the documentation: site/index.html
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs --quiet build && echo "Documentation: site/index.html"

docs-serve: $(READY)  ## serve the documentation on http://127.0.0.1:8000 and rebuild on every change
	$(BIN)/python -m mkdocs serve

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: noisemap needs Python 3.11 or newer, but $(PYTHON) is `$(PYTHON) --version 2>&1`; run  make PYTHON=python3.11 …"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache
