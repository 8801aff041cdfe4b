import json
from dataclasses import replace

import keras
import pytest
from conftest import digit_network, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.conversion.against_plan import compare_with_plan
from keras_sbn.conversion.emitter import Output, PlannedOperator
from keras_sbn.conversion.plan import NO_REASON, LoweringError
from keras_sbn.tflite.reader import read_file


@pytest.fixture
def model(rng):
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _rows(report):
    return {row.name: row for row in report.layers}


def test_a_table_and_json(model, tmp_path):
    report = keras_sbn.convert(model).report
    lines = str(report).splitlines()
    columns = "layer kind operators input output bytes binary MACs other MACs"
    assert " ".join(lines[0].split()) == columns
    assert lines[-3] == "3 of 4 layers with a kernel are binary"
    assert "    float: its input is real-valued; a first layer has to read the image" in str(report)
    data = json.loads(report.save(tmp_path / "report.json").read_text())
    assert data["file_bytes"] == report.file_bytes
    assert [row["name"] for row in data["layers"]] == [row.name for row in report.layers]
    assert data["layers"][0]["reason"] == "its input is real-valued"
    assert data["totals"]["weights"] == report.weights


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_weights_and_products(model, target):
    """conv_1: 3 x 3 x 2 -> 32 and conv_2: 3 x 3 x 32 -> 40 on 7 x 6; then 3 x 3 x 40 -> 33 -> 3.

    The pool after conv_2 reads 6 x 6, and so much is computed.
    """
    report = keras_sbn.convert(model, target=target).report
    rows = _rows(report)
    weights = {"conv_1": 576, "conv_2": 11_520, "dense_1": 11_880, "dense_2": 99}
    macs = {"conv_1": 42 * 576, "conv_2": 36 * 11_520, "dense_1": 11_880, "dense_2": 99}
    for name, count in weights.items():
        row = rows[name]
        assert row.weights == count
        assert row.binary_macs + row.int8_macs + row.float_macs == macs[name]
        assert bool(row.binary_macs) == (row.kind == "binary")
    assert report.weights == sum(weights.values())
    assert report.one_bit_bytes == -(-report.weights // 8)
    assert report.binary_macs + report.float_macs == sum(macs.values())


def test_kernel_bytes(model):
    """One bit a weight, channels filled up to 32; a byte a weight with stock operators."""
    row = _rows(keras_sbn.convert(model).report)["conv_2"]
    assert row.kernel_bytes == 40 * 3 * 3 * 32 // 8
    # A threshold of 4 bytes a filter comes on top, and the 8 widths of its padding.
    assert row.bytes == row.kernel_bytes + 40 * 4 + 8 * 4
    rows = _rows(keras_sbn.convert(model, target="tflite").report)
    assert rows["conv_2"].kernel_bytes == 40 * 3 * 3 * 32
    assert rows["dense_2"].kernel_bytes == 99


def test_reasons_of_sums_that_are_read_as_numbers(model):
    for target in ("lce", "tflite"):
        row = _rows(keras_sbn.convert(model, target=target).report)["dense_2"]
        assert (row.kind, row.output_type) == ("binary", "float32")
        assert row.reason == "its sums are an output, or more than a sign reads them"
        assert not row.remedy


@pytest.mark.parametrize("options", [{"groups": 2}, {"padding": "same", "pad_value": 0.0}])
def test_reasons_of_sums_in_float32(options):
    inputs = keras.Input((4, 4, 8))
    conv = layers.SelfBinarizingConv2D(4, 3, binarize_input=True, name="conv", **options)
    model = keras.Model(inputs, conv(inputs))
    keras_sbn.binarize(model)
    row = _rows(keras_sbn.convert(model, target="tflite").report)["conv"]
    assert row.kind == "float"
    assert "±1 are added up in float32, exactly" in row.reason
    assert "pad_value=1.0" in row.remedy


def test_a_border_of_zero_is_a_reason_to_write_floats(rng):
    inputs = keras.Input((4, 4, 32))
    x = layers.SelfBinarizingConv2D(
        32, 3, padding="same", pad_value=0.0, binarize_input=True, name="conv"
    )(inputs)
    x = layers.SelfBinarizingActivation()(x)
    model = keras.Model(inputs, layers.SelfBinarizingConv2D(2, 1)(x))
    keras_sbn.binarize(model)
    row = _rows(keras_sbn.convert(model).report)["conv"]
    assert row.output_type == "float32"
    assert row.reason == "its border is 0, which is no binary value"
    assert "pad_value=1.0" in row.remedy
    assert _rows(keras_sbn.convert(model, target="tflite").report)["conv"].output_type == "int8"


def _plan_of(content):
    info = read_file(content)
    plan = [
        PlannedOperator(
            op.name,
            Output(
                op.outputs[0].name.split("/")[0],
                op.outputs[0].shape,
                dtype=op.outputs[0].dtype,
                name=op.outputs[0].name,
                binary=op.name.startswith("LceB"),
            ),
            op.constant_bytes,
            NO_REASON,
        )
        for op in info.operators
    ]
    return plan, info


@pytest.mark.parametrize(
    "surprise",
    [
        {"operator": "CONV_2D"},
        {"output": {"name": "other"}},
        {"output": {"dtype": "float32"}},
        {"output": {"shape": (1, 1, 1, 1)}},
        {"constant_bytes": 7},
    ],
)
def test_what_is_not_as_planned_is_an_error_or_a_row(model, surprise):
    plan, info = _plan_of(keras_sbn.convert(model).content)
    at = [op.operator for op in plan].index("LceBconv2d")
    layer = plan[at].output.layer
    if "output" in surprise:
        surprise = {"output": plan[at].output.also(**surprise["output"])}
    changed = [*plan[:at], replace(plan[at], **surprise), *plan[at + 1 :]]
    with pytest.raises(LoweringError, match=f"Expected layer '{layer}' to be written as"):
        compare_with_plan(changed, info)
    row = _rows(compare_with_plan(changed, info, allow_float_fallback=True))[layer]
    assert row.reason.startswith("it was planned as")
    assert row.kind != "binary"
    assert all(row.kind == "binary" for row in compare_with_plan(plan, info).layers if row.binary_macs)


def test_an_operator_too_few_is_an_error(model):
    plan, info = _plan_of(keras_sbn.convert(model).content)
    with pytest.raises(LoweringError, match=f"Expected {len(plan) - 1} operators"):
        compare_with_plan(plan[1:], info)


def test_float_fallbacks_are_rows_with_reason_and_remedy(rng):
    inputs = keras.Input((6, 6, 3))
    x = layers.SelfBinarizingConv2D(32, 3, name="first")(inputs)
    x = layers.BinaryBatchNormalization(name="norm")(x)
    x = layers.SelfBinarizingConv2D(4, 3, name="real_input")(x)
    x = layers.SelfBinarizingConv2D(8, 1, groups=2, binarize_input=True, name="groups")(x)
    x = layers.SelfBinarizingConv2D(
        4, 3, padding="same", pad_value=0.5, binarize_input=True, name="border"
    )(x)
    model = keras.Model(inputs, x)
    keras_sbn.binarize(model)
    reasons = {
        "real_input": "its input is real-valued and comes from 'norm'",
        "border": "it pads with [0.5]",
    }
    for target in ("lce", "tflite"):
        with pytest.raises(LoweringError, match="'real_input' to be binary"):
            keras_sbn.convert(model, target=target)
        converted = keras_sbn.convert(model, target=target, allow_float_fallback=True)
        rows = _rows(converted.report)
        for name, reason in reasons.items():
            assert rows[name].kind == "float"
            assert rows[name].reason.startswith(reason)
            assert rows[name].remedy
        x = rng.integers(-8, 8, (8, 6, 6, 3)).astype("float32")
        assert keras_sbn.verify(converted, model, x).largest_difference < 1e-4
    assert _rows(keras_sbn.convert(model, allow_float_fallback=True).report)["groups"].reason == (
        "2 channels a group, and the Larq Compute Engine packs 32"
    )
