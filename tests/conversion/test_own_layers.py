"""Layers of one's own, Lambda layers and subclassed models convert for every target, or are refused."""

import keras
import numpy as np
import pytest
from conftest import images, needs_new_litert, randomize, run_everywhere
from own_layers import PARTS, Attention, Network, Scale, Stage

import keras_sbn
from keras_sbn import layers
from keras_sbn.extras import why_not_run

K = keras.layers
TARGETS = [target for target in ("tflite", "lce", "c", "onnx") if why_not_run(target) is None]


def _hard(model, rng):
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _values(converted, x):
    stock = converted.target in ("tflite", "lce")
    return np.asarray(run_everywhere(converted, x, 1e-4) if stock else converted.predict(x))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PARTS)
def test_a_layer_of_ones_own_converts(name, target, rng):
    inputs = keras.Input((6, 6, 3))
    x = PARTS[name]()(inputs)
    x = layers.SelfBinarizingConv2D(4, 3, padding="same", binarize_input=True)(x)
    x = layers.SelfBinarizingActivation()(layers.BinaryBatchNormalization()(x))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(K.Flatten()(x))), rng)
    x = images(rng, (6, 6, 3), 8)
    converted = keras_sbn.convert(keras_sbn.fold(model), target)
    expected = model.predict(x, verbose=0)
    # Signs of sums of floats, which targets add in different orders, may fall the other way.
    allowed = 1 if name in ("attention", "residual") else 0
    differing = (np.abs(_values(converted, x) - expected) > 1e-3).any(axis=1).sum()
    assert differing <= allowed


def test_a_subclassed_model_of_blocks_is_binary_in_the_file(rng):
    model = Network()
    model(images(rng, (6, 6, 3), 2))
    _hard(model, rng)
    converted = keras_sbn.convert(model, "lce")
    kinds = [row.kind for row in converted.report.layers]
    assert kinds.count("binary") >= 2
    assert keras_sbn.verify(converted, model, images(rng, (6, 6, 3), 8)).differing_decisions == 0


@needs_new_litert
def test_the_micro_target_reads_blocks(rng):
    inputs = keras.Input((6, 6, 3), dtype="uint8")
    x = Stage(4)(K.Rescaling(1 / 128, -1)(inputs))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(K.Flatten()(x))), rng)
    x = rng.integers(0, 256, (8, 6, 6, 3)).astype("uint8")
    converted = keras_sbn.convert(model, "micro", representative_data=x)
    if why_not_run("micro") is None:
        assert keras_sbn.verify(converted, model, x).differing_decisions == 0


def test_an_error_within_a_layer_of_ones_own_names_it(rng):
    class Erf(K.Layer):
        def call(self, x):
            return keras.ops.erf(x)

    inputs = keras.Input((6, 6, 3))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingConv2D(4, 3)(Erf(name="mine")(inputs))), rng)
    with pytest.raises(ValueError, match=r"Received: Erf 'mine_erf\w*'"):
        keras_sbn.convert(keras_sbn.fold(model), "tflite")


def test_a_layer_that_cannot_be_read_is_refused_with_the_reason(rng):
    class Unlike(K.Layer):
        def call(self, x):
            return x if isinstance(x, keras.KerasTensor) else x * 2

    inputs = keras.Input((6, 6, 3))
    x = Unlike(name="unlike")(inputs)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingConv2D(4, 3)(x)), rng)
    Unlike.get_config = lambda self: {"name": self.name}
    with pytest.raises(ValueError, match=r"'unlike'.*not one of Keras, and it computes something else"):
        keras_sbn.convert(keras_sbn.fold(model), "tflite")


# From float models.


class FloatBlock(K.Layer):
    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.conv = K.Conv2D(filters, 3, padding="same", name=f"{self.name}_conv")
        self.normalization = K.BatchNormalization(name=f"{self.name}_bn")
        self.drop = K.Dropout(0.5, name=f"{self.name}_drop")

    def call(self, x, training=None):
        x = self.normalization(self.conv(x), training=training)
        return self.drop(keras.ops.relu(x), training=training)


class FrozenBlock(FloatBlock):
    def call(self, x, training=None):
        x = keras.ops.relu(self.normalization(self.conv(x), training=False))
        return self.drop(x, training=False)


class Noisy(K.Layer):
    """Does something in training alone, and has nothing to learn."""

    def call(self, x, training=False):
        return x + keras.random.normal(keras.ops.shape(x)[1:], seed=1) if training else x


def _float_network(block, *more):
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for i in range(3):
        x = block(8, name=f"block_{i}")(x)
    for layer in more:
        x = layer(x)
    return keras.Model(inputs, K.Dense(3, name="head")(K.Flatten()(x)))


def test_blocks_of_a_float_model_become_binary(rng):
    result = keras_sbn.binary_model(_float_network(FloatBlock))
    precisions = {row.name: row.precision for row in result.layers}
    assert precisions["block_1_conv"] == precisions["block_2_conv"] == "binary"
    network = result.model
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = images(rng, (8, 8, 3), 32), rng.integers(0, 3, 32)
    means = [w for w in network.weights if w.name == "moving_mean"]
    before = [keras.ops.convert_to_numpy(w) for w in means]
    network.fit(x, y, epochs=2, verbose=0, callbacks=[keras_sbn.callbacks.Sharpen()])
    # Batch normalization learns, whatever mode it was read in.
    assert all((keras.ops.convert_to_numpy(w) != b).any() for w, b in zip(means, before, strict=True))
    converted = keras_sbn.convert(keras_sbn.fold(network), "lce")
    assert keras_sbn.verify(converted, network, x).differing_decisions == 0


def test_a_block_is_kept_by_its_name():
    kept = keras_sbn.binary_model(_float_network(FloatBlock), keep={"block_1": "int8"})
    precisions = {row.name: row.precision for row in kept.layers}
    assert precisions["block_1_conv"] == "int8"
    assert precisions["block_2_conv"] == "binary"


@pytest.mark.parametrize(("block", "mode"), [(FrozenBlock, False), (FloatBlock, None)])
def test_a_mode_that_a_layer_sets_itself_stays(block, mode):
    network = keras_sbn.binary_model(_float_network(block), keep=["block_0_conv"]).model
    (call,) = network.get_layer("block_0_bn")._inbound_nodes
    assert call.arguments.kwargs.get("training") is mode


@pytest.mark.parametrize("make", [Scale, Noisy, lambda **name: Attention(8, **name)])
def test_what_is_trained_or_differs_in_training_stays_a_layer(make, rng):
    own = make(name="own")
    result = keras_sbn.binary_model(_float_network(FloatBlock, own, K.Conv2D(8, 3, name="last")))
    copies = [layer for layer in result.model.layers if type(layer) is type(own)]
    # What has only layers inside is read, and trained as they are.
    assert len(copies) == (0 if isinstance(own, Attention) else 1)
    if isinstance(own, Scale):
        assert copies[0].trainable_weights
    network = _hard(result.model, rng)
    converted = keras_sbn.convert(keras_sbn.fold(network), "tflite", allow_float_fallback=True)
    x = images(rng, (8, 8, 3), 4)
    found = keras_sbn.verify(converted, network, x)
    assert found.differing_decisions <= 1
