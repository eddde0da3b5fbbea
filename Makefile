# make evaluate   the random forest on the embedded spinels, scored beside every submission
# make test       all tests but those of the two lines below (tests of the full structures need ../shared/upstream or EMIGBENCH_SOURCE)
# make test-graphs  the tests of the graph models, in an environment of their own with torch and, on Python 3.11, the original stack
# make test-neb     the tests of the interatomic potentials, in an environment for each of CHGNet, SevenNet, MatterSim and MACE
# make lint       ruff and mypy
# make benchmark  the times that the project watches

PYTHON ?= python3
BIN := .venv/bin
RUN := runs/random-forest-spinels
POTENTIALS := chgnet sevennet mattersim mace
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
# Each of two processes takes its half of the tests in order, so that what a module's tests share is mostly made once.
IN_TWO := -n 2 --dist worksteal

.PHONY: evaluate test test-graphs test-neb lint benchmark install clean

evaluate: install
	@rm -rf $(RUN)
	$(BIN)/emigbench evaluate random-forest --dataset spinels --seeds 5 --out $(RUN) > /dev/null
	$(BIN)/emigbench leaderboard build --dataset spinels --add $(RUN) --out runs/leaderboard-spinels
	@echo "The leaderboard of the full dataset is leaderboard/README.md"

test: install
	$(ONE_THREAD) $(BIN)/python -m pytest $(IN_TWO)

test-graphs: .venv-graphs/installed
	$(ONE_THREAD) .venv-graphs/bin/python -m pytest $(IN_TWO) tests/baselines/alignn

test-neb: $(POTENTIALS:%=.venv-%/installed)
	for potential in $(POTENTIALS); do $(ONE_THREAD) \
		.venv-$$potential/bin/python -m pytest tests/baselines/neb/test_potentials.py || exit 1; done

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: install
	$(BIN)/python -m benchmarks.times

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "emigbench needs Python 3.11, 3.12 or 3.13; name one with make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[classical,dev]'
	@touch $@

.venv-graphs/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-graphs
	.venv-graphs/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[alignn,oracle,dev]'
	@touch $@

$(POTENTIALS:%=.venv-%/installed): .venv-%/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*,dev]'
	@# MatterSim asks for torchvision and never uses it; one that is not built for this torch keeps both from loading.
	test $* != mattersim || .venv-$*/bin/python -m pip uninstall --quiet --yes torchvision
	@touch $@

clean:
	rm -rf .venv .venv-graphs $(POTENTIALS:%=.venv-%) runs build *.egg-info
