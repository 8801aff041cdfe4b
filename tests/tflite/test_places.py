"""Where a file runs: what the lookup says is what the installed runtimes do, yes and no."""

import keras
import numpy as np
import pytest
from conftest import LITERT, activate, images, needs_new_litert, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.bits import pack_integers
from keras_sbn.extras import installed, why_no_lce
from keras_sbn.tflite import place_data
from keras_sbn.tflite.interpreter import LceInterpreter, TfliteInterpreter
from keras_sbn.tflite.kernels import KernelsInterpreter, has_kernels
from keras_sbn.tflite.micro import MicroInterpreter, has_micro
from keras_sbn.tflite.npu import compile_for_npu
from keras_sbn.tflite.places import oldest_litert, table, where_it_runs
from keras_sbn.tflite.reader import read_file
from keras_sbn.tflite.writer import ModelWriter

LCE, KERNELS, STOCK, MICRO, ETHOS = (
    "Larq Compute Engine 0.16",
    "LiteRT with keras-sbn-kernels",
    "LiteRT",
    "TensorFlow Lite Micro",
    "Arm Ethos-U55, U65 (all operators)",
)
pytestmark = needs_new_litert
#: What each kind of file runs in.
RUNS = {
    "lce": {LCE, KERNELS},
    "tflite": {LCE, KERNELS, STOCK},
    "int4": {LCE, KERNELS, STOCK},
    "int2": {KERNELS, STOCK},
    "micro": {KERNELS, STOCK, MICRO, ETHOS},
    "micro int4": {KERNELS, STOCK, MICRO},
    "micro slices": {KERNELS, STOCK, MICRO, ETHOS},
    "micro backwards": {KERNELS, STOCK, MICRO},
    "int2 convolution": set(),
}


def _int2_convolution():
    """A file that no runtime takes: CONV_2D has no weights of 2 bits."""
    writer = ModelWriter("test")
    x = writer.tensor("x", (1, 3, 3, 4), "int8", 1.0, 127)
    ones = writer.buffer(pack_integers(np.ones(8, np.int8), 2).tobytes(), "int2")
    kernel = writer.tensor("kernel", (2, 1, 1, 4), "int2", [1.0, 1.0], buffer=ones)
    zeros = writer.buffer(np.zeros(2, np.int32).tobytes(), "int32")
    bias = writer.tensor("bias", (2,), "int32", [1.0, 1.0], buffer=zeros)
    y = writer.tensor("y", (1, 3, 3, 2), "int8", 1.0, 127)
    fields = {"padding": 1, "strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
    writer.operator("CONV_2D", [x, kernel, bias], [y], ("Conv2D", fields), 7)
    return writer.finish([x], [y])


def _network(rng, between=lambda x: x):
    inputs = x = keras.Input((8, 8, 3))
    x = activate(layers.SelfBinarizingConv2D(32, 3)(x))
    x = activate(layers.SelfBinarizingConv2D(32, 3, padding="same")(between(x)))
    x = layers.SelfBinarizingDense(4)(keras.layers.Flatten()(x))
    model = keras.Model(inputs, x)
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


@pytest.fixture(scope="module")
def files():
    rng = np.random.default_rng(0)
    model = _network(rng)
    samples = images(rng, (8, 8, 3), 4)
    made = {
        "lce": ("lce", {}),
        "tflite": ("tflite", {}),
        "int4": ("tflite", {"weight_bits": 4}),
        "int2": ("tflite", {"weight_bits": 2}),
        "micro": ("micro", {"representative_data": samples}),
        "micro int4": ("micro", {"representative_data": samples, "weight_bits": 4}),
    }
    found = {
        name: keras_sbn.convert(model, target, **options).content
        for name, (target, options) in made.items()
    }
    options = {"representative_data": samples}
    for name, move in (
        ("micro slices", lambda x: x[:, ::2, 1:]),
        ("micro backwards", lambda x: keras.ops.flip(x, axis=2)),
    ):
        found[name] = keras_sbn.convert(_network(rng, move), "micro", **options).content
    found["int2 convolution"] = _int2_convolution()
    return found


def _opens(open_one, content):
    try:
        open_one(content)
    except (RuntimeError, ValueError):
        return False
    return True


def _on_the_npu_alone(content):
    if not compile_for_npu(content, "ethos-u55-128").on_cpu:
        return
    raise ValueError("some operators run on the CPU")


def _stock(content):
    interpreter = TfliteInterpreter(content, package="ai_edge_litert", xnnpack=False)
    if any(op.name.startswith("Lce") for op in read_file(content).operators):
        raise RuntimeError(interpreter.runtime)


def _kernels(content):
    # LiteRT prepares its operators at the first run.
    info = read_file(content)
    zeros = [np.zeros(tensor.shape, tensor.dtype) for tensor in info.inputs]
    KernelsInterpreter(content).predict(zeros)


#: What opens a file in each place, and whether it is there.
OPENS = {
    LCE: (LceInterpreter, why_no_lce() is None),
    KERNELS: (_kernels, has_kernels()),
    STOCK: (_stock, installed("ai_edge_litert")),
    MICRO: (MicroInterpreter, has_micro()),
    ETHOS: (_on_the_npu_alone, installed("ethosu")),
}


@pytest.mark.parametrize("kind", RUNS)
def test_the_verdict_is_what_the_runtimes_do(kind, files):
    content = files[kind]
    verdicts = {one.place: one for one in where_it_runs(read_file(content))}
    assert {place for place in OPENS if verdicts[place].runs} == RUNS[kind]
    for place, (open_one, is_there) in OPENS.items():
        if is_there:
            assert _opens(open_one, content) == verdicts[place].runs, place
    for one in verdicts.values():
        assert one.runs or one.reason


def test_what_was_not_run_is_marked(files):
    verdicts = where_it_runs(read_file(files["tflite"]))
    assert {one.place for one in verdicts if not one.tried} == {"LiteRT.js", *place_data.DELEGATES}
    lines = table(verdicts).splitlines()
    for place in ("LiteRT.js", *place_data.DELEGATES):
        assert "not run: by its documentation" in next(line for line in lines if line.startswith(place))


def test_reasons_name_the_operator_and_its_tensor(files):
    verdicts = {one.place: one.reason for one in where_it_runs(read_file(files["tflite"]))}
    assert "CONV_2D version 2 of float32*int8>float32" not in verdicts[MICRO]
    assert "of float32*int8 is not there (" in verdicts[MICRO]
    assert "CPU beside it" in verdicts[ETHOS]


def test_the_oldest_release_follows_from_the_versions(files):
    assert oldest_litert(read_file(files["int2"])) == "LiteRT 2.1.0"
    assert oldest_litert(read_file(files["tflite"])) == ""
    assert oldest_litert(read_file(files["micro"])) == "LiteRT 2.1.3"
    verdicts = {one.place: one for one in where_it_runs(read_file(files["int2"]))}
    assert verdicts[STOCK].since == "2.1.0"
    assert f"from {place_data.OLDEST_WITH_KERNELS} on" in table(tuple(verdicts.values()))


def test_the_versions_are_those_that_litert_has():
    """The highest version of each operator that the installed release finds, and not one more."""
    for name, (versions, *_) in place_data.OPERATORS.items():
        # What the Larq Compute Engine has, every release has.
        known = [
            highest
            for runtime, highest in versions.items()
            if runtime == LCE or tuple(map(int, runtime.split("."))) <= LITERT
        ]
        assert _finds(name, max(known)), name
        if (
            len(known) == len(versions)
            and tuple(map(int, place_data.LITERT_RELEASES[-1].split("."))) == LITERT
        ):
            assert not _finds(name, max(known) + 1), name


def _finds(name, version):
    writer = ModelWriter("test")
    x, y = (writer.tensor(text, (1, 4), "float32") for text in "xy")
    writer.operator(name, [x], [y], None, version)
    content = writer.finish([x], [y])
    from ai_edge_litert import interpreter

    try:
        interpreter.Interpreter(model_content=content)
    except ValueError as error:
        return "Didn't find op" not in str(error)
    return True
