# make demo: install, then train and convert a network on real images.
# make test: install, then check style and types and run the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Native libraries say much at start-up that is of no use here.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: install demo docs notebook release-check test lint unit test-matrix test-backends fuzz test-arm test-kotlin test-web clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[all,dev]'
	touch $@

demo: install
	$(BIN)/keras-sbn demo

test: lint unit

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site is made from the sources, without importing them, in an environment of its own; a warning is an error.
docs: $(VENV)/docs/.installed
	NO_MKDOCS_2_WARNING=1 $(VENV)/docs/bin/mkdocs build --strict --quiet

$(VENV)/docs/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)/docs
	$(VENV)/docs/bin/python -m pip install --quiet --editable '.[docs]'
	touch $@

# Runs the notebook of the examples, and writes its pictures into it.
notebook: install
	$(BIN)/python -m pip install --quiet --editable '.[notebook]'
	$(BIN)/python tools/notebook.py

# Wheel and sdist, each in an empty environment: installed, the quickstart run, types seen by mypy.
release-check:
	$(PYTHON) tools/release_check.py

# On JAX most of the time goes into compiling, so XLA optimizes little there. A Python for which there is no
# TensorFlow runs everything on JAX.
unit: install
	if $(BIN)/python -c "import importlib.util as u, sys; sys.exit(u.find_spec('tensorflow') is None)"; then \
	  $(BIN)/pytest -n 2 && \
	  KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/pytest -n 2 -m "not tensorflow and not once"; \
	else \
	  KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/pytest -n 2; \
	fi

# Every supported set of versions that noxfile.py names, each in an environment of its own; an hour and more.
# One row: make test-matrix ROW='test(oldest)'.
test-matrix: install
	$(BIN)/nox $(if $(ROW),--session "$(ROW)")

# PyTorch's build for Linux is several GB, so it is not part of the ordinary set-up. Install one, for the CPU
# say, into the environment first.
test-backends: install
	KERAS_BACKEND=torch $(BIN)/pytest -n 2 -m "not tensorflow"

# Random networks, folded and compared with the hard network in float64, half an hour and more; then damaged
# files at every door where files come in, SECONDS each; and, where atheris installs, guided by coverage.
SECONDS ?= 240
fuzz: install
	KERAS_SBN_FUZZ=2000 $(BIN)/pytest -n 2 tests/folding/test_random_networks.py tests/conversion/test_random_networks.py
	$(BIN)/python tests/fuzz --seconds $(SECONDS)
	if $(BIN)/python -m pip install --quiet atheris; then \
	  for door in reader inspect metadata npz npy image settings; do \
	    $(BIN)/python tests/fuzz --atheris $$door -max_total_time=$(SECONDS) || exit 1; done; fi

# The portable files on 64-bit ARM, emulated, against Keras: docs/arm.md. Needs Debian's apt-get, not root.
# One network: make test-arm CASES=residual.
test-arm: install
	$(BIN)/python tests/arm $(if $(CASES),--cases $(CASES))

# The Kotlin of the Android example: type-checked, and its preprocessing run. Needs Java and npm.
test-kotlin: install
	npm install --no-save --prefix out/kotlin kotlin-compiler@2.4.20
	KOTLINC=out/kotlin/node_modules/kotlin-compiler/bin/kotlinc $(BIN)/pytest tests/deployment/test_kotlin.py

# The page of `keras-sbn deploy web` in headless Chromium, against Keras; pictures of it go to out/web. Needs
# Chromium (CHROMIUM names it where it is not on the path) and npm.
test-web: install
	$(BIN)/python -m pip install --quiet 'playwright>=1.40'
	npm install --no-save --ignore-scripts --prefix out/web @litertjs/core@2.5.3
	LITERT_JS=out/web $(BIN)/pytest tests/deployment/test_web_browser.py

clean:
	rm -rf $(VENV) .nox out dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
