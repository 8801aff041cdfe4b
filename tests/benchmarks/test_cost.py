"""What benchmarks/cost.py reads from a file, against counts made by hand."""

import cost
import keras
import pytest

import keras_sbn
from keras_sbn.tflite.reader import read_file

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def content():
    """Two convolutions of an 8-bit image and a dense layer, binary from the first sign on."""
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            keras_sbn.layers.SelfBinarizingConv2D(32, 3),
            keras_sbn.layers.BinaryBatchNormalization(),
            keras_sbn.layers.SelfBinarizingActivation(),
            keras_sbn.layers.SelfBinarizingConv2D(32, 3),
            keras_sbn.layers.BinaryBatchNormalization(),
            keras_sbn.layers.SelfBinarizingActivation(),
            keras.layers.Flatten(),
            keras_sbn.layers.SelfBinarizingDense(4),
        ]
    )
    keras_sbn.binarize(model)
    return keras_sbn.convert(keras_sbn.fold(model, input_scaling=(1 / 128, -1))).content


def test_layers(content):
    layers = cost.layers_of(content)
    assert [layer.name for layer in layers] == ["conv 1", "conv 2", "conv 3"]
    assert [layer.macs for layer in layers] == [
        {"binary": 0, "int8": 4 * 4 * 32 * 27, "float": 0},
        {"binary": 2 * 2 * 32 * 9 * 32, "int8": 0, "float": 0},
        {"binary": 4 * 128, "int8": 0, "float": 0},
    ]
    assert sum(layer.constants for layer in layers) == sum(
        op.constant_bytes for op in read_file(content).operators
    )
    # The second layer writes its 32 signs a position as one int32, the last four sums as float32.
    assert (layers[1].written, layers[2].written % 16) == (2 * 2 * 4, 0)


def test_what_lays_an_input_out_belongs_to_the_layer_that_reads_it():
    layers = keras_sbn.layers
    model = keras.Sequential([keras.Input((7, 7, 3)), layers.SelfBinarizingConv2D(32, 3)])
    model.add(layers.SelfBinarizingActivation())
    model.add(layers.SelfBinarizingConv2D(32, 3, padding="same"))
    model.add(keras.layers.MaxPooling2D())
    model.add(layers.SelfBinarizingActivation())
    model.add(keras.layers.Flatten())
    model.add(layers.SelfBinarizingDense(4))
    keras_sbn.binarize(model)
    content = keras_sbn.convert(keras_sbn.fold(model, input_scaling=(1 / 128, -1))).content
    assert "PAD" in [op.name for op in read_file(content).operators]
    first, second, _ = cost.layers_of(content)
    # The image in int8; values in int8 and as bits, 32 a word; of 5 x 5 positions the pool reads 4 x 4.
    assert first.written == 7 * 7 * 3 + 5 * 5 * 32 + 5 * 5 * 4
    assert second.written == (6 * 6 + 4 * 4 + 2 * 2) * 4


def test_peak_memory(content):
    info = read_file(content)
    image, written = 6 * 6 * 3, [4 * 4 * 32, 4 * 4 * 4, 2 * 2 * 4]
    # The int8 values of the first layer and the image, or those values and their bits, are the most.
    assert cost.peak_memory(info) >= max(image + written[0], written[0] + written[1])
    assert cost.peak_memory(info) < image + sum(written) + 4 * 4


def test_the_chart_is_drawn(content, tmp_path):
    pytest.importorskip("matplotlib")
    layers = cost.layers_of(content)
    layers += [cost.Layer(name) for name in cost.LAYERS[len(layers) :]]
    cost.draw({"ours": layers}, {"ours": len(content)}, tmp_path / "cost.png")
    assert (tmp_path / "cost.png").read_bytes()[:4] == b"\x89PNG"
