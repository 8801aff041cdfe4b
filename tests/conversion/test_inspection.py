import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import textwrap
import tracemalloc
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import digit_network, randomize

import keras_sbn
from keras_sbn.conversion import inspection
from keras_sbn.tflite.reader import read_file
from keras_sbn.tflite.schema import schema
from keras_sbn.tflite.writer import ModelWriter


def _rows(report):
    return {row.name: row for row in report.layers}


@pytest.fixture(scope="module")
def converted():
    model = digit_network()
    randomize(model, np.random.default_rng(0))
    keras_sbn.binarize(model)
    return {target: keras_sbn.convert(model, target=target) for target in ("lce", "tflite")}


def test_agrees_with_the_report_of_the_conversion(converted):
    for file in converted.values():
        report = keras_sbn.inspect(file.content)
        for total in ("weights", "one_bit_bytes", "binary_macs", "float_macs", "file_bytes"):
            assert getattr(report, total) == getattr(file.report, total), total
        assert all(len(row.operators) == 1 for row in report.layers)


def test_reads_a_path(converted, tmp_path):
    path = converted["lce"].save(tmp_path / "model.tflite")
    assert str(keras_sbn.inspect(path)) == str(keras_sbn.inspect(converted["lce"].content))
    with pytest.raises(FileNotFoundError):
        keras_sbn.inspect(tmp_path / "missing.tflite")


def test_stock_files_that_store_binary_values(converted):
    report = keras_sbn.inspect(converted["tflite"].content)
    kinds = [(row.operators[0], row.kind) for row in report.layers if row.weights or "POOL" in row.name]
    assert kinds == [
        ("CONV_2D", "float"),
        ("CONV_2D", "binary"),
        ("CONV_2D", "binary"),
        ("CONV_2D", "binary"),
    ]
    last = [row for row in report.layers if row.weights][-1]
    assert (last.reason, last.output_type) == ("its sums are wanted as numbers", "float32")
    assert last.kernel_bytes == 99


def test_a_stock_file_that_adds_up_in_float32(rng):
    inputs = keras.Input((4, 4, 9))
    signs = keras_sbn.layers.SelfBinarizingActivation()(inputs)
    conv = keras_sbn.layers.SelfBinarizingConv2D(3, 3, padding="same", pad_value=0.0)
    model = keras.Model(inputs, conv(signs))
    randomize(model, rng)
    keras_sbn.binarize(model)
    report = keras_sbn.inspect(keras_sbn.convert(model, target="tflite").content)
    row = [row for row in report.layers if row.weights][-1]
    assert row.kind == "float"
    assert row.reason == "it adds up the products of ±1 in float32, as its sums are wanted as numbers"
    # The kernel is stored in int8 and dequantized when the file is loaded.
    assert row.kernel_bytes == 3 * 3 * 9 * 3


@pytest.fixture(scope="module")
def larq_content(tmp_path_factory):
    """A file of Larq's and LCE's own, shaped as their tutorial's BinaryNet and small."""
    if not all(importlib.util.find_spec(name) for name in ("larq", "tf_keras")):
        pytest.skip("larq is not installed")
    path = tmp_path_factory.mktemp("larq") / "larq.tflite"
    code = f"""
        import tensorflow as tf, larq as lq, larq_compute_engine as lce
        kernel = dict(kernel_quantizer="ste_sign", use_bias=False)
        both = dict(input_quantizer="ste_sign", **kernel)
        model = tf.keras.Sequential([
            lq.layers.QuantConv2D(32, 3, input_shape=(10, 10, 3), **kernel),
            tf.keras.layers.BatchNormalization(scale=False),
            lq.layers.QuantConv2D(32, 3, padding="same", **both),
            tf.keras.layers.MaxPool2D(),
            tf.keras.layers.BatchNormalization(scale=False),
            lq.layers.QuantConv2D(32, 2, **both),
            tf.keras.layers.MaxPool2D(),
            tf.keras.layers.BatchNormalization(scale=False),
            tf.keras.layers.Flatten(),
            lq.layers.QuantDense(8, **both),
            tf.keras.layers.BatchNormalization(scale=False),
        ])
        open({str(path)!r}, "wb").write(lce.convert_keras_model(model))
    """
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "KERAS_BACKEND": "tensorflow"}
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environment,
        check=True,
        capture_output=True,
    )
    return path.read_bytes()


@pytest.mark.tensorflow
def test_explains_larqs_own_file(larq_content):
    larq_report = keras_sbn.inspect(larq_content)
    first, same, valid, dense = [row for row in larq_report.layers if row.weights]
    assert (first.kind, first.reason) == ("float", "its kernel is ±1 and its input is real-valued")
    assert (same.kind, same.output_type) == ("binary", "float32")
    assert same.reason == "its border is padded with 0, which is no binary value"
    assert (valid.kind, valid.output_type) == ("binary", "float32")
    assert valid.reason == "MAX_POOL_2D reads it before the sign"
    assert (dense.kind, dense.operators) == ("float", ("FULLY_CONNECTED",))
    assert "no binary dense kernel" in dense.reason
    assert "1 x 1 convolution" in dense.remedy
    assert dense.kernel_bytes == 4 * dense.weights
    assert same.kernel_bytes == same.weights // 8
    assert larq_report.weights == 9 * 3 * 32 + 9 * 32 * 32 + 4 * 32 * 32 + 32 * 8
    # The converter's joined names, such as "sequential/batch_normalization_1/FusedBatchNormV3;se1".
    table = str(larq_report)
    assert re.search(r"^sequential/quant_conv2d_1/QuantConv2D +binary +LceBconv2d", table, re.MULTILINE)
    assert "…/batch_normalization_1/FusedBatchNormV3" in table
    assert ";" not in table.split("\n  ")[0]


@pytest.fixture(scope="module")
def stock_contents(tmp_path_factory):
    """TensorFlow's own float32 and int8 files of a small network."""
    import tensorflow as tf

    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    folder = str(tmp_path_factory.mktemp("stock"))
    model.export(folder, format="tf_saved_model")
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    float32 = converter.convert()
    x = np.random.default_rng(0).random((8, 1, 6, 6, 3), "float32")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample] for sample in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return float32, converter.convert()


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:Statistics for quantized inputs:UserWarning")
def test_files_of_tensorflows_converter(stock_contents):
    macs = 16 * 27 * 8 + 4 * 9 * 8 + 32 * 4
    float32, int8 = (keras_sbn.inspect(content) for content in stock_contents)
    assert (float32.binary_macs, float32.int8_macs, float32.float_macs) == (0, 0, macs)
    assert (int8.binary_macs, int8.int8_macs, int8.float_macs) == (0, macs, 0)
    assert float32.weights == int8.weights == 27 * 8 + 9 * 8 + 32 * 4
    reasons = {row.reason for row in float32.layers if row.weights}
    assert reasons == {"its kernel and its input are real-valued"}
    assert {row.reason for row in int8.layers if row.weights} == {"its kernel has more than two values"}


def _dense(kernel):
    writer = ModelWriter("test")
    a = writer.tensor("a", (1, kernel.shape[1]), "float32")
    b = writer.tensor("b", (1, len(kernel)), "float32")
    buffer = writer.buffer(kernel.astype("float32").tobytes(), "float32")
    constant = writer.tensor("kernel", kernel.shape, "float32", buffer=buffer)
    writer.operator("FULLY_CONNECTED", [a, constant, -1], [b], ("FullyConnected", {}))
    return writer.finish([a], [b])


def test_a_kernel_that_is_nearly_binary_is_named(rng):
    kernel = np.where(rng.random((4, 100)) < 0.5, -2.0, 2.0)
    (exact,) = keras_sbn.inspect(_dense(kernel)).layers
    assert exact.reason == "its kernel is ±1 and its input is real-valued"
    kernel[0, :8] = 1.9
    (nearly,) = keras_sbn.inspect(_dense(kernel)).layers
    assert nearly.reason == "its kernel is nearly ±1: 2 % of the weights are not"
    assert "keras_sbn.binarize" in nearly.remedy


def _damaged(content, rng, count):
    """Truncations, random bytes, bytes of 0xff, and 4-byte words that are large numbers."""
    for index in range(count):
        data = bytearray(content)
        if index % 4 == 0:
            yield bytes(data[: rng.integers(0, len(data))])
            continue
        for _ in range(rng.integers(1, 9)):
            # Half of the damage goes where the tables are, after the constants.
            start = 0 if rng.random() < 0.5 else len(data) * 3 // 4
            at = int(rng.integers(start, len(data) - 4))
            if index % 4 == 1:
                data[at] = rng.integers(256)
            elif index % 4 == 2:
                data[at] = 0xFF
            else:
                data[at : at + 4] = int(rng.integers(2**31)).to_bytes(4, "little")
        yield bytes(data)


@pytest.mark.parametrize("whose", ["ours", pytest.param("larq", marks=pytest.mark.tensorflow)])
def test_a_thousand_damaged_files_end_in_an_error_or_an_answer(whose, request):
    """250 of them truncated; of ours both targets, of Larq's what its own converter writes."""
    rng = np.random.default_rng(0)
    errors = answers = 0
    messages = set()
    if whose == "ours":
        files = [file.content for file in request.getfixturevalue("converted").values()]
    else:
        files = [request.getfixturevalue("larq_content")]
    for whole in files:
        for content in _damaged(whole, rng, 1000 // len(files)):
            try:
                report = keras_sbn.inspect(content)
            except ValueError as error:
                errors += 1
                messages.add(str(error)[:16])
            else:
                answers += 1
                assert str(report)
                assert report.file_bytes == len(content)
    assert errors + answers == 1000
    assert messages <= {"Expected a TFLit", "Expected a whole"}
    # Damage to constants and names leaves a file that can be read; truncation does not.
    assert errors > 250
    assert answers > 100


def test_lengths_that_are_huge_take_no_memory(converted):
    rng = np.random.default_rng(0)
    for file in converted.values():
        # Where the tables are; elsewhere it is a weight that changes.
        tables = np.arange(len(file.content) * 3 // 4, len(file.content) - 4, 4)
        tracemalloc.start()
        try:
            for at in rng.choice(tables, 50, replace=False):
                data = bytearray(file.content)
                data[at : at + 4] = int(rng.choice([2**31 - 1, 2**30, 2**24])).to_bytes(4, "little")
                with contextlib.suppress(ValueError):
                    str(keras_sbn.inspect(bytes(data)))
            assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
        finally:
            tracemalloc.stop()


def test_a_vector_that_many_tables_share_is_not_read_for_each_of_them():
    """A file of 60 kB with 1,000 tensors that all point at one shape of 1,000 sizes."""
    schema_module = schema()

    class SharedShape(schema_module.TensorT):
        vector = None

        def Pack(self, builder):  # noqa: N802 (the name the schema calls)
            if SharedShape.vector is None:
                schema_module.TensorStartShapeVector(builder, 1000)
                for _ in range(1000):
                    builder.PrependInt32(1)
                SharedShape.vector = builder.EndVector()
            schema_module.TensorStart(builder)
            schema_module.TensorAddShape(builder, SharedShape.vector)
            return schema_module.TensorEnd(builder)

    writer = ModelWriter("test")
    writer._graph.tensors = [SharedShape() for _ in range(1000)]
    content = writer.finish([0], [1])
    assert len(content) < 60_000
    with pytest.raises(ValueError, match="more vectors than the file has bytes"):
        keras_sbn.inspect(content)


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_operators_that_lack_inputs_or_outputs_are_described(target, converted, monkeypatch):
    info = read_file(converted[target].content)
    for index, op in enumerate(info.operators):
        lacking = [replace(op, inputs=op.inputs[:count]) for count in range(len(op.inputs))]
        for other in (*lacking, replace(op, outputs=())):
            operators = (*info.operators[:index], other, *info.operators[index + 1 :])
            damaged = replace(info, operators=operators)
            monkeypatch.setattr(inspection, "read_file", lambda _, found=damaged: found)
            report = keras_sbn.inspect(converted[target])
            assert len(report.layers) == len(operators)
            assert report.layers[index].name == (op.output.name if other.outputs else f"operator {index}")
