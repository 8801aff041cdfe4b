"""A layer is what it computes: subclasses, replaced methods, quantized layers and arguments of calls."""

import functools

import keras
import pytest

from keras_sbn import layers
from keras_sbn.folding import graph
from keras_sbn.folding.computation import change_of, computed_class, plain_copy

K = keras.layers


class Standardized(K.Conv2D):
    """Weight standardization as Keras documents it."""

    def convolution_op(self, inputs, kernel):
        mean = keras.ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        return super().convolution_op(inputs, kernel - mean)


class Doubled:
    def call(self, inputs, *args, **kwargs):
        return 2 * super().call(inputs, *args, **kwargs)


class DoubledDense(Doubled, layers.SelfBinarizingDense):
    pass


class Merged(K.Add):
    def _merge_function(self, inputs):
        return inputs[0]


class OtherProduct(layers.SelfBinarizingDense):
    def product(self, inputs):
        return super().product(inputs) * 0.5


class Preset(K.Conv2D):
    """Only fixes arguments, and has a method of its own."""

    extra = 3

    def __init__(self, filters=4, **kwargs):
        super().__init__(filters, 3, padding="same", **kwargs)
        self.own = filters

    def describe(self):
        return self.own


class PresetOfPreset(Preset):
    def get_config(self):
        return {"filters": self.filters, "name": self.name}


@pytest.mark.parametrize(
    ("layer", "word"),
    [
        (Standardized(4, 3), "convolution_op"),
        (DoubledDense(4), "Doubled defines its own call"),
        (Merged(), "_merge_function"),
        (OtherProduct(4), "product"),
        (type("Own", (K.Layer,), {"call": lambda self, x: x})(), "Own is not one of Keras"),
    ],
)
def test_a_subclass_that_computes_otherwise_is_unknown(layer, word):
    assert computed_class(layer) is None
    assert word in change_of(layer)


@pytest.mark.parametrize("kind", [Preset, PresetOfPreset])
def test_a_subclass_that_only_changes_arguments_is_its_base_class(kind):
    layer = kind(name="conv")
    assert computed_class(layer) is K.Conv2D
    copy = plain_copy(layer, activation="relu")
    assert (copy.name, copy.kernel_size, copy.filters) == ("conv", (3, 3), 4)
    assert copy.activation is keras.activations.relu


def test_a_method_replaced_on_the_instance_is_a_change():
    layer = K.Dense(3)
    assert computed_class(layer) is K.Dense
    object.__setattr__(layer, "call", functools.partial(layer.call))
    assert "call was replaced" in change_of(layer)


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_a_layer_that_keras_quantized_is_unknown(mode):
    layer = K.Dense(4)
    layer.build((None, 4))
    try:
        layer.quantize(mode)
    except (NotImplementedError, ValueError, TypeError):
        pytest.skip(f"this Keras does not quantize to {mode}")
    assert "quantized it" in change_of(layer)


@pytest.mark.parametrize(
    ("training", "known"), [(True, False), (False, True), (None, True), ("absent", True)]
)
def test_an_argument_that_changes_the_computation_is_a_change_of_the_call(training, known):
    inputs = keras.Input((4,))
    kwargs = {} if training == "absent" else {"training": training}
    model = keras.Model(inputs, K.Dropout(0.5)(inputs, **kwargs))
    (call,) = [node.op for node in graph.read(model).nodes() if node.inputs]
    assert (call.kind is K.Dropout) == known
