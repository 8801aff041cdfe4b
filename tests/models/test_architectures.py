"""Every architecture has the published size, and goes the whole way to both targets."""

from functools import cache

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn import models

#: Small inputs and widths, so that a test is a matter of a second.
TINY = {
    "tinyconv": ((8, 8, 1), 1 / 4),
    "binarynet": ((12, 12, 3), 1 / 16),
    "resnet20": ((9, 8, 3), 1 / 2),
    "binaryalexnet": ((57, 57, 3), 1 / 64),
    "birealresnet18": ((16, 16, 3), 1 / 8),
    "birealresnet34": ((16, 16, 3), 1 / 8),
    "quicknetsmall": ((16, 16, 3), 1 / 8),
    "quicknet": ((16, 16, 3), 1 / 8),
    "quicknetlarge": ((16, 16, 3), 1 / 8),
}

#: Binary weights, memory in bytes, binary and other multiply-accumulates: of docs/plots/zoo_hero.vg.json
#: in larq/docs, and, for BinaryNet, of the tutorial there.
LARQ = {
    "binarynet": (10_352_000, 1_324_800, 510_961_664, 3_110_400),
    "binaryalexnet": (None, 7_812_248, 768_512_000, 72_855_552),
    "birealresnet18": (None, 4_189_344, 1_676_279_808, 137_793_536),
    "quicknetsmall": (None, 4_197_152, 1_156_055_040, 15_489_536),
    "quicknet": (None, 4_368_032, 1_849_688_064, 28_861_440),
    "quicknetlarge": (None, 5_660_320, 3_699_376_128, 28_861_440),
}

#: Parameters in the docstrings of larq_zoo, and how many vectors of each batch normalization are counted
#: in them: two remain when it is fused.
PARAMETERS = {
    "binaryalexnet": (61_859_192, 3),
    "birealresnet18": (11_699_112, 4),
    "quicknetsmall": (12_655_688, 2),
    "quicknet": (13_234_088, 2),
    "quicknetlarge": (23_342_248, 2),
}


def tiny(architecture, **options):
    shape, alpha = TINY[architecture]
    return models.by_name(architecture)(shape, alpha=alpha, classes=4, **options)


@cache
def full_size(name):
    model = models.by_name(name)()
    channels = [layer.moving_mean.shape[0] for layer in model.layers if hasattr(layer, "moving_mean")]
    return keras_sbn.summary(model), sum(channels)


@pytest.mark.parametrize("architecture", TINY)
def test_batch_normalization_is_ours_before_signs_alone(architecture):
    ours, signs = keras_sbn.layers.BinaryBatchNormalization, keras_sbn.layers.SelfBinarizingActivation
    found = [layer for layer in tiny(architecture).layers if hasattr(layer, "moving_mean")]
    assert found
    for layer in found:
        readers = [type(node.operation) for node in layer._outbound_nodes]
        assert isinstance(layer, ours) == (readers == [signs]), layer.name
        assert layer.momentum == 0.9, layer.name


def images(model, samples=8):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (samples, *model.input_shape[1:]))
    return (pixels / 128 - 1).astype("float32")


def test_every_name_has_its_architecture():
    assert set(TINY) == set(models.names())
    with pytest.raises(ValueError, match=r"Expected one of the models tinyconv, .* Received: 'vgg'"):
        models.by_name("vgg")


@pytest.mark.once
@pytest.mark.parametrize("name", LARQ)
def test_sizes_are_those_of_larq(name):
    summary, channels = full_size(name)
    blur = sum(row.float_macs for row in summary.layers if row.name.endswith("_blur"))
    binary, memory, binary_macs, float_macs = LARQ[name]
    assert binary is None or summary.binary_parameters == binary
    assert summary.memory == 8 * memory
    assert summary.binary_macs == binary_macs
    assert summary.float_macs - blur == float_macs
    if name in PARAMETERS:
        parameters, vectors = PARAMETERS[name]
        assert summary.parameters + (vectors - 2) * channels == parameters


@pytest.mark.once
def test_sizes_are_those_of_the_papers():
    summary, _ = full_size("resnet20")
    assert summary.parameters == 269_722
    assert summary.macs == 40_551_040
    # Table 3 of Bi-Real Net: Mbit, and FLOPs with 64 binary operations as one.
    for name, megabits, flops in (("birealresnet18", 33.6, 1.63e8), ("birealresnet34", 43.7, 1.93e8)):
        summary, _ = full_size(name)
        assert summary.memory / 1e6 == pytest.approx(megabits, rel=0.01)
        assert summary.float_macs + summary.binary_macs / 64 == pytest.approx(flops, rel=0.01)
    assert full_size("tinyconv")[0].binary_parameters == 89_632


@pytest.mark.parametrize("name", TINY)
def test_trains_a_step_folds_converts_and_verifies(name):
    model = tiny(name)
    x, y = images(model), np.arange(8) % 4
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    before = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    model.train_on_batch(x, y)
    after = [keras.ops.convert_to_numpy(weight) for weight in model.trainable_weights]
    changed = [bool((a != b).any()) for a, b in zip(before, after, strict=True)]
    assert all(changed), [w.path for w, c in zip(model.trainable_weights, changed, strict=True) if not c]
    keras_sbn.binarize(model)
    folded = keras_sbn.fold(model)
    for target in ("lce", "tflite"):
        converted = keras_sbn.convert(folded, target=target)
        found = keras_sbn.verify(converted, model, x)
        assert found, f"{target}: {found}"
        assert found.largest_difference < 1e-4
        if target == "lce":
            check_kernels(model, converted.report)


@pytest.mark.once
@pytest.mark.parametrize(
    ("shape", "convolutions"), [((8, 8, 1), 3), ((28, 28, 1), 4), ((49, 40, 1), 5), ((49, 10, 1), 3)]
)
def test_tiny_conv_fits_digits_and_spectrograms(shape, convolutions):
    model = models.TinyConv(shape, alpha=1 / 4, classes=12)
    kinds = [type(layer) for layer in model.layers]
    assert kinds.count(keras_sbn.layers.SelfBinarizingConv2D) == convolutions
    keras_sbn.binarize(model)
    # Untrained, classes of equal sums would be ties, which a rounding of the softmax decides.
    model.get_layer("logits").beta.assign(np.linspace(0, 0.5, 12))
    converted = keras_sbn.convert(model, target="tflite")
    assert keras_sbn.verify(converted, model, images(model, 4))


def check_kernels(model, report):
    """A kernel that is binary in the model is binary in the file, unless it reads the image."""
    rows = {row.name: row for row in report.layers}
    for layer in keras_sbn.summary(model).layers:
        if layer.kernel_precision == 1:
            assert (rows[layer.name].kind == "binary") == (layer.input_precision == 1), layer.name


@pytest.mark.parametrize("name", ["tinyconv", "quicknetsmall"])
def test_saves_and_loads(name, tmp_path):
    model = tiny(name)
    x = images(model)
    model.save(tmp_path / "model.keras")
    # Keras 3.4 unpacks a model.weights.h5 beside a .keras file, and removes it.
    model.save_weights(tmp_path / "saved.weights.h5")
    expected = model.predict_on_batch(x)
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict_on_batch(x), expected)
    again = tiny(name, weights=tmp_path / "saved.weights.h5")
    np.testing.assert_array_equal(again.predict_on_batch(x), expected)


def test_without_the_classifier():
    assert tiny("resnet20", include_top=False).output_shape == (None, 3, 2, 32)
    assert tiny("resnet20", include_top=False, pooling="avg").output_shape == (None, 32)
    assert tiny("binarynet", include_top=False, pooling="max").output_shape == (None, 32)
    logits = tiny("tinyconv", classifier_activation=None)
    assert logits.layers[-1].name == "logits"
    assert logits.name == "tiny_conv"
    assert tiny("tinyconv", name="mine").name == "mine"


def test_takes_the_image_from_a_tensor():
    image = keras.Input((16, 16, 3), dtype="uint8")
    scaled = keras.layers.Rescaling(1 / 128, -1)(image)
    model = models.ResNet20(input_tensor=scaled, alpha=1 / 2, classes=3)
    assert model.input is image
    assert model.output_shape == (None, 3)
    with pytest.raises(ValueError, match="at least 10"):
        models.BinaryNet(input_tensor=keras.Input((8, 8, 3)))


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_first_layers_on_8_bit_images_sum_integers(target):
    """From the image to the first sign no float is rounded, so file and model agree bit for bit there."""
    rng = np.random.default_rng(0)
    for name, scaling, options in (
        ("tinyconv", (1 / 256, 0.0), {}),
        ("binarynet", (1 / 128, -1.0), {}),
        ("resnet20", (1 / 128, -1.0), {"quantize_first_layer": True}),
    ):
        model = tiny(name, classifier_activation=None)
        keras_sbn.binarize(model)
        folded = keras_sbn.fold(model, input_scaling=scaling, **options)
        converted = keras_sbn.convert(folded, target=target)
        kinds = {row.name: row.kind for row in converted.report.layers}
        first = "stem_conv" if name == "resnet20" else "conv_1"
        assert kinds[first] == ("int8" if name != "resnet20" else "float")
        x = rng.integers(0, 256, (8, *TINY[name][0])).astype("uint8")
        assert keras_sbn.verify(converted, folded, x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "Expected `classes` to be a positive integer"),
        ({"alpha": 0}, "Expected `alpha` to be a positive number"),
        ({"pooling": "sum"}, "Expected `pooling` to be None, 'avg' or 'max'"),
        ({"weights": "imagenet"}, "there are no pretrained weights to download"),
        ({"input_shape": (None, 32, 3)}, "Expected `input_shape` to be"),
        ({"input_shape": (9, 32, 3)}, "at least 10 in 'binary_net'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        models.BinaryNet(**options)


@pytest.mark.once
@pytest.mark.parametrize("name", ["binarynet", "resnet20", "binaryalexnet", "quicknet", "birealresnet18"])
def test_the_smallest_inputs_build(name):
    smallest = {"binarynet": 10, "resnet20": 4, "binaryalexnet": 57, "quicknet": 16, "birealresnet18": 8}
    size = smallest[name]
    model = models.by_name(name)((size, size, 3), alpha=1 / 64, classes=2)
    assert model.output_shape == (None, 2)
    with pytest.raises(ValueError, match=f"at least {size}"):
        models.by_name(name)((size - 1, size, 3), alpha=1 / 64)
