"""Fixtures and helpers that several tests share."""

from __future__ import annotations

import importlib.util
import os
from importlib import metadata
from pathlib import Path

if importlib.util.find_spec("tensorflow") is None:
    # The default of Keras; before it is imported.
    os.environ.setdefault("KERAS_BACKEND", "jax")
# On JAX most of the time goes into compiling, and many tests train one network: what this process, the
# others and their children have compiled is kept in a folder. Before JAX is imported.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / "out" / "jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import keras
import numpy as np
import pytest

from keras_sbn import layers
from keras_sbn.extras import why_no_lce
from keras_sbn.tflite import kernels
from keras_sbn.tflite.interpreter import (
    KERNELS,
    TFLITE_RUNTIMES,
    LceInterpreter,
    TfliteInterpreter,
    open_interpreter,
)
from keras_sbn.tflite.schema import schema
from keras_sbn.tflite.writer import finish
from keras_sbn.verification.first_difference import compare_layers
from keras_sbn.verification.inputs import Batch

#: The version of LiteRT, as numbers; nothing where it is not installed.
LITERT: tuple[int, ...] = ()
if importlib.util.find_spec("ai_edge_litert") is not None:
    LITERT = tuple(int(part) for part in metadata.version("ai-edge-litert").split(".")[:3])
#: Reads kernels of 2 bits, and int8 as int16.
needs_new_litert = pytest.mark.skipif(LITERT < (2, 1, 3), reason="needs LiteRT 2.1.3 or later")
_HERE = Path(__file__).parent
#: Where the backend of Keras computes nothing, or nothing that the tests named below it do not compare
#: on every backend as well. `make test` runs these on the first backend alone; the rows of
#: `make test-matrix` run all tests on theirs.
_ONCE = (
    "arm",
    "benchmarks",
    "c_code",
    "cli",
    "conversion",
    "data",
    "deployment",
    "from_keras",
    "fuzz",
    "hls4ml_model",
    "tflite",
    "tools",
    "verification",
    "folding/test_activation_layers.py",
    "folding/test_affine_maps.py",
    "folding/test_rules.py",
    "folding/test_thresholds.py",
    "folding/test_value_ranges.py",
    "layers/test_arguments.py",
    "models",
    "onnx_model",
    "test_cli.py",
    "test_documentation.py",
    "test_examples.py",
    "test_examples_scripts.py",
    "test_export.py",
    "test_files.py",
    "test_import.py",
    "test_plots.py",
    "test_process.py",
    "test_readme.py",
    "test_structure.py",
    "test_summary.py",
    "training/test_from_float.py",
    "training/test_lock.py",
    "training/test_resuming.py",
    "training/test_run.py",
    "training/test_settings.py",
    "training/test_tensorflow_files.py",
)
_ON_EVERY_BACKEND = (
    "conversion/test_across_backends.py",
    "data/test_fit.py",
    "training/test_run.py::test_two_devices_train_like_one",
)
#: Whole trainings, a graph of TensorFlow each: the first arguments of a test are tried on
#: every backend, the others on JAX alone, where that takes less time, and if they need TensorFlow in the
#: matrix alone.
_TRAININGS = (
    "benchmarks/test_accuracy_pieces.py",
    "benchmarks/test_straight_through.py",
    "layers/test_training.py",
    "test_frozen_layers.py",
    "test_resume.py",
    "test_weight_decay.py",
)
#: Trainings with callbacks, which see no more of the backend than Keras shows them: in `make test` on JAX
#: alone, in the matrix on all.
_CALLBACKS = ("test_freezing.py", "test_monitoring.py", "test_other_callbacks.py")
#: What takes longest goes first, so that no worker is left with it at the end.
_LONGEST = (
    "benchmarks/test_accelerator.py",
    "conversion/test_random_networks.py",
    "folding/test_random_networks.py",
    "test_distribution.py",
    "test_resume.py::test_backup_and_restore_after_a_killed_process",
    "training/test_run.py::test_two_devices_train_like_one",
)
#: Hundreds of tiny models, each of which answers once or twice: under TensorFlow, `predict` takes ten
#: times longer to trace a graph and to build a pipeline for one than to compute.
_ANSWER_ONCE = ("conversion", "folding", "from_keras", "onnx_model", "tflite")


def _is_of(item, names):
    """Whether a test is in one of the folders or files, or is one of the tests, of these names."""
    test = item.nodeid.split("[")[0]
    return any(f"{test}/".startswith((f"tests/{name}/", f"tests/{name}::")) for name in names)


def pytest_collection_modifyitems(items):
    tried = set()
    for item in items:
        test = item.nodeid.split("[")[0]
        if _is_of(item, _ONCE) and not _is_of(item, _ON_EVERY_BACKEND):
            item.add_marker(pytest.mark.once)
        again = test in tried and _is_of(item, _TRAININGS)
        if again or (_is_of(item, _CALLBACKS) and not item.get_closest_marker("tensorflow")):
            item.add_marker(pytest.mark.again)
        tried.add(test)
    items.sort(key=lambda item: not _is_of(item, _LONGEST))


def pytest_runtest_setup(item):
    if item.get_closest_marker("tensorflow") and keras.backend.backend() != "tensorflow":
        pytest.skip("needs TensorFlow as the backend of Keras")
    reason = why_no_lce()
    if reason is not None and item.get_closest_marker("lce"):
        pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Skips a test that runs a file for the Larq Compute Engine where there is no such engine.

    The reason is the error of the package itself. Where the engine is installed nothing skips.
    """
    try:
        return (yield)
    except ImportError as error:
        reason = why_no_lce()
        if reason is None or "larq-compute-engine" not in str(error):
            raise
        pytest.skip(reason)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True)
def _backend_of_children(monkeypatch):
    """What a test of the command line asks for is not what the processes of later tests take."""
    if "KERAS_BACKEND" in os.environ:
        monkeypatch.setenv("KERAS_BACKEND", os.environ["KERAS_BACKEND"])
    else:
        # Noted, so that it goes again.
        monkeypatch.setenv("KERAS_BACKEND", "")
        monkeypatch.delenv("KERAS_BACKEND")


@pytest.fixture(autouse=True)
def _predict_without_a_graph(request, monkeypatch):
    """`keras.Model.predict` of arrays computes them in batches, eagerly; all else is Keras's own.

    A compiled model keeps to what `compile` said.
    """
    if keras.backend.backend() != "tensorflow" or not _is_of(request.node, _ANSWER_ONCE):
        return
    predict = keras.Model.predict

    def in_batches(self, x, batch_size=None, verbose="auto", **options):
        arrays = keras.tree.flatten(x)
        if self.compiled or options or not all(isinstance(array, np.ndarray) for array in arrays):
            return predict(self, x, batch_size, verbose, **options)
        size = batch_size or 256
        parts = [
            self.predict_on_batch(
                keras.tree.map_structure(lambda array, start=start: array[start : start + size], x)
            )
            for start in range(0, len(arrays[0]), size)
        ]
        return keras.tree.map_structure(lambda *some: np.concatenate(some), *parts)

    monkeypatch.setattr(keras.Model, "run_eagerly", True)
    monkeypatch.setattr(keras.Model, "predict", in_batches)


def activate(x, normalization=layers.BinaryBatchNormalization):
    return layers.SelfBinarizingActivation()(normalization()(x))


def digit_network(classes=3):
    """Convolutions, pools, a flatten and two dense layers; two of them meet odd sizes."""
    inputs = x = keras.Input((7, 6, 2), name="image")
    x = activate(layers.SelfBinarizingConv2D(32, 3, padding="same", name="conv_1")(x))
    x = layers.SelfBinarizingConv2D(40, 3, padding="same", name="conv_2")(x)
    x = activate(keras.layers.MaxPooling2D()(x))
    x = keras.layers.Dropout(0.2)(keras.layers.Flatten()(x))
    x = layers.SelfBinarizingDense(33, use_bias=True, name="dense_1")(x)
    x = activate(x, keras.layers.BatchNormalization)
    x = layers.SelfBinarizingDense(classes, name="dense_2")(x)
    return keras.Model(inputs, layers.BinaryBatchNormalization(name="logits")(x), name="digits")


def randomize(model, rng):
    """Gives every weight but the sharpness a random value; gammas take both signs and zero."""
    for weight in model.weights:
        if weight.name.endswith("_sharpness"):
            continue
        if weight.name in ("moving_variance", "variance"):
            value = rng.uniform(0.5, 30, weight.shape)
        elif weight.name == "gamma":
            value = rng.normal(size=weight.shape) * (rng.random(weight.shape) > 0.2)
        else:
            value = rng.normal(size=weight.shape)
        weight.assign(value)


def images(rng, shape, samples=64):
    """Multiples of 1/8 in [-2, 2], zeros of both signs among them: float sums of them are exact."""
    x = rng.integers(-16, 17, (samples, *shape)).astype("float32") / 8
    x[rng.random(x.shape) < 0.1] = -0.0
    return x


def interpreters(converted):
    """Every way to run a file here: each runtime and kernel, with XNNPACK and without.

    LCE's interpreter runs stock files too, but for operators that are newer than it. The kernels of
    keras-sbn-kernels run the files of LCE with each instruction set that the processor has.
    """
    stock = converted.target != "lce"
    if not stock and kernels.has_kernels():
        for name, usable in kernels.instruction_sets().items():
            if usable:
                yield kernels.KernelsInterpreter(converted.content, 1, name)
    for xnnpack in (True, False):
        for package in TFLITE_RUNTIMES if stock else ():
            try:
                yield TfliteInterpreter(converted.content, xnnpack=xnnpack, package=package)
            except ImportError:
                continue
        for kernel in KERNELS[:1] if stock else KERNELS:
            try:
                yield LceInterpreter(converted.content, kernel=kernel, xnnpack=xnnpack)
            except ImportError:
                continue
            except RuntimeError as error:
                # The reference kernel has no padding with 0 for an odd number of channels.
                limits = "Didn't find op" if stock else "only supported by the reference kernel"
                if limits not in str(error):
                    raise


def run_everywhere(converted, x, tolerance=0.0):
    """Runs the file in every way there is, asserts equal outputs, and returns them.

    Args:
        converted: A `ConvertedModel`.
        x: An array, or a list of them, as `predict` takes them.
        tolerance: By how much floats may differ, absolutely and relative to their size: sums of floats
            depend on the order in which a kernel adds. 0 asks for equal bits.

    Returns:
        What `predict` returns: an array, or a list of them.
    """
    inputs = x if isinstance(x, list) else [x]
    first = None
    for interpreter in interpreters(converted):
        outputs = interpreter.predict(inputs)
        if first is None:
            first = outputs
        for a, b in zip(first, outputs, strict=True):
            np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance, err_msg=interpreter.runtime)
    if first is None and converted.target == "lce" and why_no_lce() is not None:
        pytest.skip(why_no_lce())
    assert first is not None, "no runtime is installed"
    return first if len(first) > 1 else first[0]


def first_differing_layer(content, target, model, x):
    """The first layer that differs where model and file take the same inputs, one array an input."""

    def run(other, inputs):
        return open_interpreter(other, target).predict(inputs, dequantize=False)

    return compare_layers(content, model, Batch(x, x, x), run=run)[0]


def crashing(content, operator=1):
    """The file with an operator that reads nothing: the readers take it, and the engines end."""
    file = schema().ModelT.InitFromObj(schema().Model.GetRootAs(content, 0))
    operator = file.subgraphs[0].operators[operator]
    operator.inputs = [-1, *operator.inputs[1:]]
    return finish(file)
