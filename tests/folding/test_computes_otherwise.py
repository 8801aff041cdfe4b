"""Layers that compute otherwise than their class: left to Keras, or an error that names them."""

import functools

import keras
import numpy as np
import pytest
from conftest import activate, images, randomize

import keras_sbn
from keras_sbn import layers

K = keras.layers


class Standardized(K.Conv2D):
    """Weight standardization as Keras documents it."""

    def convolution_op(self, inputs, kernel):
        mean = keras.ops.mean(kernel, axis=(0, 1, 2), keepdims=True)
        return super().convolution_op(inputs, kernel - mean)


class Doubled(K.BatchNormalization):
    def call(self, inputs, training=None, mask=None):
        return 2 * super().call(inputs, training=training, mask=mask) + 1


class Softplus(K.ReLU):
    def call(self, inputs):
        return keras.ops.softplus(inputs) - 1


class L2Pool(K.MaxPooling2D):
    def call(self, inputs):
        return keras.ops.sqrt(keras.ops.average_pool(inputs**2, 2, 2)) - 0.5


class Mean(K.Concatenate):
    def _merge_function(self, inputs):
        return 0.5 * super()._merge_function(inputs)


class Noisy(K.Dropout):
    def call(self, inputs, training=False):
        return inputs - 0.25


class Shifted(K.Flatten):
    def call(self, inputs):
        return super().call(inputs) - 1


class Reversed(K.Permute):
    def call(self, inputs):
        return -super().call(inputs)


class Halved(K.Dense):
    def call(self, inputs, training=None):
        return super().call(inputs) / 2


class Preset(K.Conv2D):
    """Only fixes arguments; its constructor does not take what `get_config` returns."""

    def __init__(self, filters=4, **kwargs):
        super().__init__(filters, 3, padding="same", **kwargs)


class PresetNormalization(K.BatchNormalization):
    def __init__(self, name=None):
        super().__init__(epsilon=0.25, name=name)


class PresetPool(K.MaxPooling2D):
    def __init__(self):
        super().__init__(2, name="pool")


class PresetBinary(layers.SelfBinarizingConv2D):
    def __init__(self, filters):
        super().__init__(filters, 3, padding="same", use_bias=True)


def _hard(model, rng):
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _bits(x, filters=4):
    return layers.SelfBinarizingConv2D(filters, 3, padding="same", binarize_input=True)(x)


def _assert_equal(model, x, **tolerance):
    folded = keras_sbn.fold(model)
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(folded.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-5)
    return folded


def _kinds(model):
    return [type(layer).__name__ for layer in model.layers]


@pytest.mark.parametrize(
    "layer",
    [
        Standardized(4, 3, name="own"),
        Doubled(name="own"),
        Softplus(name="own"),
        L2Pool(2, name="own"),
        Noisy(0.5, name="own"),
        Reversed((2, 1, 3), name="own"),
    ],
)
def test_a_subclass_of_keras_that_computes_otherwise_stays(layer, rng):
    inputs = keras.Input((6, 6, 3))
    x = layer(activate(_bits(inputs)))
    x = layers.SelfBinarizingActivation()(_bits(layers.SelfBinarizingActivation()(x)))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(K.Flatten()(x))), rng)
    folded = _assert_equal(model, images(rng, (6, 6, 3)))
    assert type(folded.get_layer("own")) is type(layer)


def test_a_merging_subclass_stays(rng):
    inputs = keras.Input((6, 6, 3))
    x = layers.SelfBinarizingActivation()(inputs)
    x = activate(Mean(name="own")([_bits(x), _bits(x)]), K.BatchNormalization)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(Shifted()(x))), rng)
    folded = _assert_equal(model, images(rng, (6, 6, 3)))
    assert {"Mean", "Shifted"} < set(_kinds(folded))


@pytest.mark.parametrize("base", [layers.SelfBinarizingDense, layers.SelfBinarizingActivation])
def test_a_subclass_of_a_layer_of_this_package_that_computes_otherwise_is_refused(base, rng):
    def call(self, inputs):
        return 0.5 * base.call(self, inputs)

    halved = type("Halved", (base,), {"call": call})
    arguments = () if base is layers.SelfBinarizingActivation else (4,)
    inputs = keras.Input((6,))
    model = _hard(keras.Model(inputs, halved(*arguments, name="own")(inputs)), rng)
    with pytest.raises(ValueError, match=rf"layer 'own' to compute what {base.__name__} does.*Halved"):
        keras_sbn.fold(model)
    # The remedy: the layer itself, and what was added in a layer of its own.
    fixed = keras.Model(inputs, K.Rescaling(0.5)(base(*arguments)(inputs)))
    _assert_equal(_hard(fixed, rng), images(rng, (6,)))


def test_a_normalization_of_this_package_that_computes_otherwise_is_refused(rng):
    class Scaled(layers.BinaryBatchNormalization):
        def call(self, inputs, training=None, mask=None):
            return 3 - super().call(inputs, training, mask)

    inputs = keras.Input((6,))
    x = layers.SelfBinarizingActivation()(Scaled(name="own")(inputs))
    with pytest.raises(ValueError, match="layer 'own' to compute what BinaryBatchNormalization does"):
        keras_sbn.fold(_hard(keras.Model(inputs, x), rng))


def test_subclasses_that_only_change_arguments_fold(rng):
    inputs = keras.Input((6, 6, 3))
    x = activate(Preset(name="first")(inputs), PresetNormalization)
    x = activate(PresetPool()(PresetBinary(5)(x)), PresetNormalization)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(K.Flatten()(x))), rng)
    folded = _assert_equal(model, images(rng, (6, 6, 3)))
    kinds = ["InputLayer", "Conv2D", "Threshold", "BinaryConv2D", "Threshold", "MaxPooling2D"]
    assert _kinds(folded)[:6] == kinds


def test_a_method_replaced_on_a_layer_is_refused(rng):
    inputs = keras.Input((6,))
    dense = K.Dense(4, name="dense")
    model = keras.Model(inputs, layers.SelfBinarizingActivation()(dense(inputs)))
    object.__setattr__(dense, "call", lambda x: -K.Dense.call(dense, x))
    with pytest.raises(ValueError, match=r"Expected layer 'dense' of class Dense.*call was replaced"):
        keras_sbn.fold(_hard(model, rng))


class NegatedModel(keras.Model):
    def call(self, x, training=None, mask=None):
        return -super().call(x)


class NegatedChain(keras.Sequential):
    def call(self, x, training=None, mask=None):
        return -super().call(x)


class Negating:
    def __call__(self, *args, **kwargs):
        return -super().__call__(*args, **kwargs)


class NegatingModel(Negating, keras.Model):
    pass


def _functional(kind):
    inputs = keras.Input((6,))
    return kind(inputs, layers.SelfBinarizingDense(4)(inputs), name="inner")


def _sequential(kind):
    return kind([keras.Input((6,)), layers.SelfBinarizingDense(4)], name="inner")


def _replaced(model):
    call = model.call
    model.call = lambda *args, **kwargs: -call(*args, **kwargs)
    return model


def _nested(inner, nested):
    if not nested:
        return inner
    inputs = keras.Input((6,))
    return keras.Model(inputs, K.ReLU()(inner(inputs)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: _functional(NegatedModel),
        lambda: _sequential(NegatedChain),
        lambda: _replaced(_functional(keras.Model)),
        lambda: _replaced(_sequential(keras.Sequential)),
    ],
    ids=["functional", "sequential", "replaced", "replaced-sequential"],
)
@pytest.mark.parametrize("nested", [False, True], ids=["alone", "nested"])
def test_a_model_with_a_call_of_its_own_is_read(make, nested, rng):
    model = _nested(_hard(make(), rng), nested)
    if keras.__version__.startswith("3.4."):
        # A Functional model of this version makes tensors of its inputs, and takes no symbolic ones.
        with pytest.raises(ValueError, match=r"model 'inner' .*KerasTensor cannot be used as input"):
            keras_sbn.fold(model)
        return
    folded = _assert_equal(model, images(rng, (6,)))
    kinds = {type(operation).__name__ for operation in folded.operations}
    assert {"BinaryDense", "Negative"} <= kinds


@pytest.mark.parametrize("nested", [False, True], ids=["alone", "nested"])
def test_a_model_that_adds_to_what_its_call_gives_is_refused(nested, rng):
    model = _nested(_hard(_functional(NegatingModel), rng), nested)
    old = keras.__version__.startswith("3.4.")
    why = "its call is not made of layers" if old else "it computes something else"
    said = f"of class Negating, which defines its own __call__, and {why}"
    with pytest.raises(ValueError, match=rf"model 'inner' {said}.*Build it from layers"):
        keras_sbn.fold(model)


def test_a_model_that_trains_in_its_own_way_is_folded(rng):
    class Trained(keras.Sequential):
        def train_step(self, data):
            return super().train_step(data)

    model, x = _hard(_sequential(Trained), rng), rng.normal(size=(8, 6)).astype("float32")
    folded = keras_sbn.fold(model)
    np.testing.assert_array_equal(folded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_layer_that_keeps_its_initializers_under_private_names_is_copied(rng):
    inputs = keras.Input((6, 8))
    attended = K.MultiHeadAttention(2, 4, kernel_initializer="ones")(inputs, inputs)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(attended)), rng)
    x = rng.normal(size=(2, 6, 8)).astype("float32")
    folded = keras_sbn.fold(model)
    np.testing.assert_array_equal(folded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_layer_called_in_training_mode_stays(rng):
    inputs = keras.Input((8,))
    x = layers.SelfBinarizingDense(64)(inputs)
    x = K.BatchNormalization(name="batch")(x, training=True)
    x = K.Dropout(0.5, name="dropout", seed=3)(x, training=True)
    model = _hard(keras.Model(inputs, layers.SelfBinarizingActivation()(x)), rng)
    assert {"BatchNormalization", "Dropout", "Sign"} < set(_kinds(keras_sbn.fold(model)))


@pytest.mark.parametrize("training", [True, False, None])
def test_a_nested_model_passes_its_mode_on(training, rng):
    inside = keras.Input((8,))
    inner = keras.Model(inside, K.Dropout(0.5)(layers.SelfBinarizingDense(64)(inside)))
    inputs = keras.Input((8,))
    model = _hard(keras.Model(inputs, inner(inputs, training=training)), rng)
    assert ("Dropout" in _kinds(keras_sbn.fold(model))) == bool(training)


@pytest.mark.parametrize("activation", [K.LeakyReLU(0.3), K.PReLU()])
def test_a_layer_as_activation_is_a_layer_of_its_own(activation, rng):
    inputs = keras.Input((8,))
    x = layers.SelfBinarizingDense(6, activation=activation, name="dense")(inputs)
    model = keras.Model(inputs, x)
    model(images(rng, (8,)))  # builds the weights of PReLU
    folded = _assert_equal(_hard(model, rng), images(rng, (8,)))
    assert type(folded.layers[-1]) is type(activation)
    assert folded.layers[-1] is not activation


def relu(x):
    """Not that of Keras."""
    return keras.ops.relu(x) - 1


@pytest.mark.parametrize(
    ("activation", "word"),
    [
        (relu, "activation=relu"),
        (functools.partial(keras.activations.relu, max_value=1.0), "functools.partial"),
        (lambda x: x - 1, "<lambda>"),
    ],
)
def test_a_function_of_ones_own_as_activation_is_refused(activation, word, rng):
    inputs = keras.Input((8,))
    x = layers.SelfBinarizingDense(6, activation=activation, name="dense")(inputs)
    with pytest.raises(ValueError, match=f"activation of layer 'dense'.*{word}"):
        keras_sbn.fold(_hard(keras.Model(inputs, x), rng))
    # The remedy: a layer of its own after it.
    x = K.Activation(activation)(layers.SelfBinarizingDense(6)(inputs))
    _assert_equal(_hard(keras.Model(inputs, x), rng), images(rng, (8,)))


@pytest.mark.parametrize(
    "activation",
    [relu, functools.partial(keras.activations.relu, max_value=1.0), lambda x: x - 1, K.LeakyReLU(0.3)],
)
def test_a_keras_layer_keeps_its_activation(activation, rng):
    inputs = keras.Input((8,))
    x = layers.SelfBinarizingActivation()(K.Dense(6, activation=activation)(inputs))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(x)), rng)
    _assert_equal(model, images(rng, (8,)))


@pytest.mark.parametrize(
    "make",
    [
        lambda activation: Halved(6, activation=activation, name="outer"),
        lambda activation: K.TimeDistributed(K.Dense(6, activation=activation), name="outer"),
    ],
    ids=["own class", "inside"],
)
def test_an_activation_that_only_keras_can_make_again(make, rng):
    """A layer whose own configuration holds it; Keras before 3.10 does not load such a model either."""

    def model(*ends):
        inputs = x = keras.Input((4, 8))
        for layer in ends:
            x = layer(x)
        x = layers.SelfBinarizingDense(3, binarize_input=True)(x)
        return _hard(keras.Model(inputs, x), rng)

    whole = model(make(K.LeakyReLU(0.3)))
    if tuple(map(int, keras.__version__.split(".")[:2])) >= (3, 10):
        _assert_equal(whole, images(rng, (4, 8)))
        return
    with pytest.raises(
        ValueError, match=r"(?s)layer 'outer'.*Put it after that one as a layer of the model"
    ):
        keras_sbn.fold(whole)
    _assert_equal(model(make(None), K.LeakyReLU(0.3)), images(rng, (4, 8)))


@pytest.mark.parametrize("name", ["leaky_relu", "softplus", "gelu"])
def test_an_activation_of_keras_by_its_name(name, rng):
    inputs = keras.Input((8,))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(6, activation=name)(inputs)), rng)
    _assert_equal(model, images(rng, (8,)))


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_a_layer_that_keras_quantized_keeps_its_scale(mode, rng):
    inputs = keras.Input((16,))
    x = K.Dense(8, name="dense")(layers.SelfBinarizingDense(16)(inputs))
    model = _hard(keras.Model(inputs, x), rng)
    try:
        model.get_layer("dense").quantize(mode)
    except (NotImplementedError, ValueError, TypeError):
        pytest.skip(f"this Keras does not quantize to {mode}")
    _assert_equal(model, images(rng, (16,)))


def test_a_layer_with_lora_keeps_its_kernel(rng):
    inputs = keras.Input((16,))
    model = keras.Model(inputs, layers.SelfBinarizingDense(3)(K.Dense(8, name="dense")(inputs)))
    model.get_layer("dense").enable_lora(2)
    _assert_equal(_hard(model, rng), images(rng, (16,)))


def test_a_layer_that_cannot_be_made_again_is_refused(rng):
    class Scale(K.Layer):
        def __init__(self, by):
            super().__init__(name="own")
            self.by = by

        def call(self, x):
            # Not what Keras records of it, so that it is copied.
            return x if isinstance(x, keras.KerasTensor) else x * self.by

        def get_config(self):
            return {"name": self.name}

    inputs = keras.Input((6,))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(Scale(2.0)(inputs))), rng)
    with pytest.raises(ValueError, match=r"layer 'own' of class Scale to be made again"):
        keras_sbn.fold(model)
    # The remedy: every argument in `get_config`.
    Scale.get_config = lambda self: {"by": self.by}
    _assert_equal(model, images(rng, (6,)))


def test_a_layer_of_ones_own_is_copied_with_what_it_keeps_in_files(rng):
    class Table(K.Layer):
        """A table that is no weight, as those of StringLookup."""

        table = 1.0

        def call(self, x):
            # Not what Keras records of it, so that it is copied.
            return x if isinstance(x, keras.KerasTensor) else x * self.table

        def save_own_variables(self, store):
            store["table"] = np.array(self.table, "float32")

        def load_own_variables(self, store):
            self.table = float(np.array(store["table"]))

    inputs = keras.Input((6,))
    own = Table(name="own")
    own.table = 3.0
    model = _hard(keras.Model(inputs, own(layers.SelfBinarizingDense(3)(inputs))), rng)
    _assert_equal(model, images(rng, (6,)))


def test_folding_leaves_no_call_in_the_original(rng):
    inputs = keras.Input((6,))
    x = keras.ops.abs(layers.SelfBinarizingDense(3)(inputs))
    model = _hard(keras.Model(inputs, x), rng)
    calls = [len(operation._inbound_nodes) for operation in model.operations]
    keras_sbn.fold(model)
    assert [len(operation._inbound_nodes) for operation in model.operations] == calls
