# make demo: install, then train and convert a network on real images.
# make test: install, then check style and types and run the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Native libraries say much at start-up that is of no use here.
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: install kernels demo docs notebook release-check test lint unit test-matrix test-backends fuzz test-arm test-c test-onnx test-hls4ml test-wasm \
  test-kotlin test-web clean

install: $(VENV)/.installed kernels

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[all,dev]'
	touch $@

# The one-bit kernels, compiled by the C compiler of this machine or, where there is none, by that of PyPI's
# ziglang. Everything else works without them.
KERNELS := $(wildcard kernels/*.py kernels/*.toml kernels/src/* kernels/include/* kernels/keras_sbn_kernels/*.py)

kernels: $(VENV)/.installed
	@$(MAKE) --no-print-directory VENV=$(VENV) $(VENV)/.kernels || echo "make: keras-sbn-kernels could not be built \
	or installed, for the reason above; all else works without, and make tries again the next time" >&2

$(VENV)/.kernels: $(KERNELS) $(VENV)/.installed
	$(BIN)/python -m pip install --quiet ./kernels
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
	if [ -e $(VENV)/.kernels ]; then cd kernels && $(abspath $(BIN))/pytest -q tests; fi
	if $(BIN)/python -c "import importlib.util as u, sys; sys.exit(u.find_spec('tensorflow') is None)"; then \
	  $(BIN)/pytest -n 2 --dist worksteal -m "not again" && \
	  KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not tensorflow and not once"; \
	else \
	  KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/pytest -n 2 --dist worksteal; \
	fi

# Every supported set of versions that noxfile.py names, each in an environment of its own; an hour and more.
# One row: make test-matrix ROW='test(oldest)'.
test-matrix: install
	$(BIN)/nox $(if $(ROW),--session "$(ROW)")

# PyTorch's build for Linux is several GB, so it is not part of the ordinary set-up. Install one, for the CPU
# say, into the environment first.
test-backends: install
	KERAS_BACKEND=torch $(BIN)/pytest -n 2 --dist worksteal -m "not tensorflow"

# Twice NETWORKS random networks, folded and compared with the hard network in float64, or converted to both
# targets and run on every kernel, half an hour and more; every function and layer of Keras; then damaged files at every door where files come in,
# SECONDS each; and, where atheris installs, guided by coverage. Two hours, all in all.
NETWORKS ?= 1000
SECONDS ?= 240
fuzz: install
	KERAS_SBN_FUZZ=$(NETWORKS) $(BIN)/pytest -n 2 tests/folding/test_random_networks.py tests/conversion/test_random_networks.py \
	  tests/conversion/test_every_function.py tests/conversion/test_every_keras_layer.py
	$(BIN)/python tests/fuzz --seconds $(SECONDS)
	if $(BIN)/python -m pip install --quiet atheris; then \
	  for door in reader inspect metadata npz npy image settings; do \
	    $(BIN)/python tests/fuzz --atheris $$door -max_total_time=$(SECONDS) || exit 1; done; fi

# The portable files on 64-bit ARM, emulated, against Keras: docs/arm.md; then the one-bit kernels against this
# machine's. Needs Debian's apt-get, not root. One network: make test-arm CASES=residual.
test-arm: install
	$(BIN)/python tests/arm $(if $(CASES),--cases $(CASES))
	$(BIN)/python -m pip install --quiet hatchling ziglang
	$(BIN)/python tests/arm/lce_files.py out/arm/lce
	$(MAKE) -C kernels test-arm PYTHON=$(abspath $(BIN))/python FILES="$(abspath out/arm/lce)/*.tflite"

# The one-bit kernels in WebAssembly. Needs node.
test-wasm: install
	$(BIN)/python -m pip install --quiet hatchling ziglang
	$(MAKE) -C kernels test-wasm PYTHON=$(abspath $(BIN))/python

# C code of 100 random networks and four known ones, on x86, 64-bit ARM and two Cortex-M under qemu, against
# Keras. Says which Debian packages are missing, and installs none.
test-c: install
	$(BIN)/python tests/c_code

# More ONNX models in onnxruntime than `make test` draws, and QONNX's in qonnx's executor, which is no part of the
# ordinary set-up.
test-onnx: install
	$(BIN)/python -m pip install --quiet 'qonnx>=1'
	KERAS_SBN_FUZZ=100 $(BIN)/pytest tests/onnx_model

# Folded models in hls4ml's C simulation, which g++ compiles, against Keras; ten minutes.
test-hls4ml: install
	$(BIN)/python -m pip install --quiet --editable '.[hls4ml]'
	KERAS_SBN_FUZZ=100 $(BIN)/pytest tests/hls4ml_model tests/test_readme.py -k "hls4ml or fpga"

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
