# Two commands matter: `make demo` and `make test`. Both set up what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
unexport PYTHONDONTWRITEBYTECODE  # each of the many processes would compile all sources again

.PHONY: demo test bench screenshots bundle lock clean

demo: $(VENV)/runtime.stamp
	$(BIN)/fabu demo --data var/demo

test: $(VENV)/dev.stamp
	$(BIN)/python -m tests.setup_parts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder  # much of a journey is waiting; the long ones come early

bench: $(VENV)/dev.stamp
	$(BIN)/python -m tests.bench

# Every page at 1440 and 390 px into docs/screenshots; needs Debian's chromium, chromium-l10n and fonts-noto-cjk.
screenshots: $(VENV)/dev.stamp
	$(BIN)/python -m tests.screenshots

# For a server without the internet: dist/fabu-VERSION-linux.tar.gz, x86-64 and arm64, Python 3.11 to 3.13.
bundle: $(VENV)/runtime.stamp
	$(BIN)/python -m workers.bundle.build

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime.stamp: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev.stamp: requirements-dev.lock $(VENV)/runtime.stamp
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	touch $@

# Needs uv. Run it after changing the dependencies in pyproject.toml.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-annotate --quiet --extra build pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	    --no-annotate --quiet --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) var dist
