"""Layers, operations and models of one's own: read as what they call, or left alone with the reason."""

import keras
import numpy as np
import pytest
from conftest import activate, images, randomize
from own_layers import PARTS, Attention, Block, Network, Scale, Stage, TwoOutputs

import keras_sbn
from keras_sbn import layers
from keras_sbn.folding.computation import is_known_class
from keras_sbn.folding.graph import read
from keras_sbn.folding.ops import KerasCall

K = keras.layers
ops = keras.ops
OLD = keras.__version__.startswith("3.4.")


def _hard(model, rng):
    randomize(model, rng)
    if any(isinstance(layer, layers.base.SelfBinarizingLayer) for layer in model._flatten_layers()):
        keras_sbn.binarize(model)
    return model


def _own_left(operations):
    """Names of the classes that are none of Keras or of this package, and Lambda layers."""
    kinds = [type(operation) for operation in operations]
    return [kind.__name__ for kind in kinds if not is_known_class(kind) or kind is K.Lambda]


def test_the_check_sees_layers_of_ones_own():
    found = _own_left([Scale(), K.ReLU(), K.Lambda(ops.relu), Sum(), layers.SelfBinarizingActivation()])
    assert found == ["Scale", "Lambda", "Sum"]


class Sum(keras.Operation):
    def call(self, x):
        return ops.sum(x)


def _assert_read(model, rng, count=5, exact=True):
    """The folded model has no layer of one's own, and the values of the model."""
    (shape,) = [tuple(x.shape[1:]) for x in model.inputs] if hasattr(model, "inputs") else [(6, 6, 3)]
    x = images(rng, shape, count)
    folded = keras_sbn.fold(model)
    assert not _own_left(folded.operations)
    expected = keras.tree.flatten(model.predict(x, verbose=0))
    found = keras.tree.flatten(folded.predict(x, verbose=0))
    for some, others in zip(found, expected, strict=True):
        if exact:
            np.testing.assert_array_equal(some, others)
        else:
            np.testing.assert_allclose(some, others, rtol=1e-5, atol=1e-5)
    return folded


@pytest.mark.parametrize("name", PARTS)
def test_a_layer_of_ones_own_is_read(name, rng):
    inputs = keras.Input((6, 6, 3))
    x = PARTS[name]()(inputs)
    x = activate(layers.SelfBinarizingConv2D(3, 3, padding="same", binarize_input=True)(x))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(K.Flatten()(x))), rng)
    _assert_read(model, rng)


@pytest.mark.parametrize("seed", range(12))
def test_networks_of_them_are_read(seed, rng):
    draw = np.random.default_rng(seed)
    parts = {**PARTS, "attention": lambda: Attention(4)}
    if OLD:  # It knows no number of channels behind a Lambda.
        parts = {name: make for name, make in parts.items() if not name.startswith("lambda")}
    inputs = keras.Input((6, 6, 3))
    x = K.Conv2D(4, 1)(inputs)
    for name in draw.choice(sorted(parts), 4):
        x = parts[name]()(x)
    x = layers.SelfBinarizingConv2D(4, 3, binarize_input=True)(x)
    _assert_read(_hard(keras.Model(inputs, K.Flatten()(x)), rng), rng, exact=False)


def test_a_block_folds_to_thresholds(rng):
    inputs = keras.Input((6, 6, 3), dtype="uint8")
    x = Stage(4, name="stage")(K.Rescaling(1 / 128, -1)(inputs))
    model = _hard(keras.Model(inputs, layers.SelfBinarizingDense(3)(K.Flatten()(x))), rng)
    folded = keras_sbn.fold(model)
    kinds = [type(layer).__name__ for layer in folded.layers]
    assert kinds.count("Threshold") == 2
    assert "Affine" not in kinds[: kinds.index("Threshold")]
    x = rng.integers(0, 256, (16, 6, 6, 3)).astype("uint8")
    np.testing.assert_array_equal(folded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_a_shared_block_stays_shared(rng):
    inputs = keras.Input((6, 6, 3))
    block = Block(3, name="block")
    model = _hard(
        keras.Model(inputs, layers.SelfBinarizingDense(3)(K.Flatten()(block(block(inputs))))), rng
    )
    folded = _assert_read(model, rng)
    assert [type(layer).__name__ for layer in folded.layers].count("Threshold") == 2


def test_several_outputs_and_inputs(rng):
    class Joined(K.Layer):
        def call(self, inputs, other=None):
            return inputs["a"] * 2 + inputs["b"] - other

    a, b, c = (keras.Input((4,), name=name) for name in "abc")
    given = TwoOutputs()(a)
    joined = Joined()({"a": given["twice"], "b": b}, other=given["same"])
    model = keras.Model([a, b, c], {"sum": joined, "c": c * 2})
    folded = keras_sbn.fold(model)
    x = [rng.normal(size=(5, 4)).astype("float32") for _ in range(3)]
    expected, found = model.predict(x, verbose=0), folded.predict(x, verbose=0)
    assert set(found) == {"sum", "c"}
    for key in found:
        np.testing.assert_array_equal(found[key], expected[key])


def test_the_folded_model_needs_no_class_of_ones_own(tmp_path, rng):
    class Unregistered(K.Layer):
        def __init__(self, block):
            super().__init__()
            self.block = block

        def call(self, x):
            return self.block(x) - 0.5

    inputs = keras.Input((6, 6, 3))
    model = _hard(keras.Model(inputs, Unregistered(Scale("left"))(inputs)), rng)
    folded = keras_sbn.fold(model)
    folded.save(tmp_path / "folded.keras")
    loaded = keras.saving.load_model(tmp_path / "folded.keras")
    x = images(rng, (6, 6, 3))
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_weights_of_the_folded_model_are_not_those_of_the_model(rng):
    inputs = keras.Input((4,))
    scale = Scale("left")
    model = _hard(keras.Model(inputs, scale(inputs)), rng)
    folded, x = keras_sbn.fold(model), images(rng, (4,))
    before = folded.predict(x, verbose=0)
    scale.gamma.assign(scale.gamma * 2)
    np.testing.assert_array_equal(folded.predict(x, verbose=0), before)


# Subclassed models.


def test_a_subclassed_model_is_read(rng):
    model = Network()
    model(images(rng, (6, 6, 3), 2))
    folded = _assert_read(_hard(model, rng), rng, exact=False)
    assert [x.name for x in folded.inputs] == ["images"]
    assert folded.name == "network"


def test_a_subclassed_model_that_was_trained_is_read(rng):
    model = Network()
    model.compile("adam", "mse", run_eagerly=keras.backend.backend() == "torch")
    x = images(rng, (6, 6, 3), 8)
    model.fit(x, np.zeros((8, 3)), batch_size=4, verbose=0, callbacks=[keras_sbn.callbacks.Sharpen()])
    _assert_read(model, rng, exact=False)


def test_a_subclassed_model_within_another_is_read(rng):
    inputs = keras.Input((6, 6, 3))
    model = keras.Model(inputs, K.Softmax()(Network()(inputs)))
    _assert_read(_hard(model, rng), rng, exact=False)


def test_a_subclassed_model_that_was_not_called_is_refused(rng):
    model = Network()
    remedy = r"x = keras\.Input\(shape\); model = keras\.Model\(x, model\(x\)\)"
    with pytest.raises(ValueError, match=rf"'network' of class Network, which was not called.*{remedy}"):
        keras_sbn.fold(model)
    # The remedy.
    x = keras.Input((6, 6, 3))
    _assert_read(_hard(keras.Model(x, model(x)), rng), rng, exact=False)


def test_a_subclassed_model_of_two_inputs_is_refused(rng):
    class Two(keras.Model):
        def call(self, a, b):
            return a + 2 * b

    model = Two()
    x = [rng.normal(size=(5, 4)).astype("float32") for _ in range(2)]
    model(*x)
    with pytest.raises(ValueError, match="Call it on inputs of the Functional API"):
        keras_sbn.fold(model)
    # The remedy.
    a, b = keras.Input((4,)), keras.Input((4,))
    called = keras.Model([a, b], model(a, b))
    expected = called.predict(x, verbose=0)
    np.testing.assert_array_equal(keras_sbn.fold(called).predict(x, verbose=0), expected)


def test_a_subclassed_model_that_cannot_be_read_is_refused(rng):
    class Symbolic(keras.Model):
        def call(self, x):
            return x if isinstance(x, keras.KerasTensor) else 2 * x

    model = Symbolic()
    model(images(rng, (4,), 2))
    with pytest.raises(
        ValueError, match="of class Symbolic, which defines its own call, and it computes"
    ):
        keras_sbn.fold(model)


# What is not read stays as it is, with the reason.


class Counting(K.Layer):
    """Other values in every call."""

    calls = 0

    def call(self, x):
        self.calls += 1
        return x * self.calls


class Noise(K.Layer):
    """Random numbers, in training or not."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(x.shape[1:], seed=self.generator)


class NumPyNoise(K.Layer):
    def call(self, x):
        return x + float(np.random.default_rng().normal())


class Counter(K.Layer):
    """A weight that a call changes."""

    def build(self, shape):
        self.seen = self.add_weight(shape=(), initializer="zeros", trainable=False, name="seen")

    def call(self, x):
        self.seen.assign(self.seen + 1)
        return x * 2


class OfTheBatch(K.Layer):
    """Other values for a sample alone."""

    def call(self, x):
        return x * 2 if x.shape[0] == 3 else x


class WithLoss(K.Layer):
    def call(self, x):
        self.add_loss(ops.mean(x))
        return x * 2


class ConstantOperation(keras.Operation):
    def call(self, x):
        return np.ones((1, 4), "float32")

    def compute_output_spec(self, x):
        return keras.KerasTensor((1, 4), "float32")


class Branch(K.Layer):
    """Something else where Keras records it."""

    def call(self, x):
        return x if isinstance(x, keras.KerasTensor) else x * 2


class Backend(K.Layer):
    """Functions of the backend itself."""

    def call(self, x):
        return keras.src.backend.numpy.multiply(x, 2)


class Constant(K.Layer):
    def call(self, x):
        return ops.ones((1, 4))


class HalfPrecision(K.Layer):
    def __init__(self):
        super().__init__(dtype="mixed_bfloat16")

    def call(self, x):
        return x * 2


UNREAD = {
    Counting: "something else than what was recorded",
    Noise: "changes a weight, or draws random numbers",
    NumPyNoise: "something else than what was recorded",
    Counter: "changes a weight, or draws random numbers",
    OfTheBatch: "something else than what was recorded",
    Branch: "something else than what was recorded",
    Backend: "not made of layers and functions of keras.ops alone",
    WithLoss: "`add_loss()` can only be called",
    Constant: "something else than tensors" if OLD else "All operation outputs must be tensors",
    ConstantOperation: "something else than tensors",
    HalfPrecision: "computes in bfloat16",
}


def _calls_of(model, kind):
    ops_of = [node.op for node in read(model).nodes() if isinstance(node.op, KerasCall)]
    return [op for op in ops_of if type(op.operation) is kind]


@pytest.mark.parametrize("kind", UNREAD)
def test_what_cannot_be_read_stays_and_says_why(kind, rng):
    inputs = keras.Input((4,))
    x = kind()(inputs)
    model = keras.Model(inputs, K.ReLU()(x))
    (call,) = _calls_of(model, kind)
    assert UNREAD[kind] in call.doubt
    assert f"class {kind.__name__} is not one of Keras, and {call.doubt}" == call.change


def test_a_layer_called_in_training_mode_is_not_read():
    inputs = keras.Input((4, 4, 1))
    model = keras.Model(inputs, Block(2)(inputs, training=True))
    (call,) = _calls_of(model, Block)
    assert "it is called with training=True" in call.doubt


class Unmoded(K.Layer):
    """Says nothing of the mode, which what it calls hears of from Keras."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.normalization = K.BatchNormalization(momentum=0.5)

    def call(self, x):
        return self.normalization(x)


@pytest.mark.parametrize("nested", [False, True])
def test_a_mode_that_a_layer_does_not_take_is_not_lost(nested, rng):
    inputs = keras.Input((4,))
    if nested:
        inner = keras.Model(inputs, Unmoded()(inputs))
        x = keras.Input((4,))
        model = keras.Model(x, inner(x, training=True))
    else:
        model = keras.Model(inputs, Unmoded()(inputs, training=True))
    if OLD and not nested:
        # This version forgets the mode of such a call, in the model as well.
        x = images(rng, (4,))
        expected = model.predict(x, verbose=0)
        np.testing.assert_allclose(keras_sbn.fold(model).predict(x, verbose=0), expected, rtol=1e-6)
        return
    (call,) = _calls_of(model, Unmoded)
    assert "it is called with training=True" in call.doubt
    assert call.arguments[1]["training"] is True


class OneSample(K.Layer):
    def call(self, x):
        return x * 2 if x.shape[0] == 1 else x


def test_a_sample_alone_is_tried(rng):
    inputs = keras.Input((4,))
    (call,) = _calls_of(keras.Model(inputs, OneSample()(inputs)), OneSample)
    assert "something else than what was recorded" in call.doubt


# A graph that is to be trained.


class Halving(K.Layer):
    """Calls the same functions in training, with another constant."""

    def call(self, x, training=False):
        return x * (0.5 if training else 1.0)


class Swapped(K.Layer):
    """Calls the same functions in training, on other values."""

    def call(self, x, training=False):
        y = ops.tanh(x)
        return x - y if training else y - x


class OtherAxis(K.Layer):
    """Calls the same function in training, along another axis."""

    def call(self, x, training=False):
        return ops.flip(x, axis=1 if training else 2)


class Regularized(K.Layer):
    def __init__(self):
        super().__init__(activity_regularizer="l2")

    def call(self, x):
        return x * 2


@pytest.mark.parametrize("kind", [Halving, Swapped, OtherAxis, Regularized, Scale])
def test_what_differs_in_training_is_read_for_inference_alone(kind, rng):
    inputs = keras.Input((4, 4))
    own = kind()
    model = keras.Model(inputs, own(inputs))

    def left(graph):
        return _own_left(node.op.operation for node in graph.nodes() if isinstance(node.op, KerasCall))

    assert left(read(model, to_train=True)) == [kind.__name__]
    assert left(read(model)) == []


def test_a_block_that_calls_the_same_is_read_for_training(rng):
    inputs = keras.Input((4, 4, 3))
    graph = read(keras.Model(inputs, Stage(3)(inputs)), to_train=True)
    calls = [node.op for node in graph.nodes() if isinstance(node.op, KerasCall)]
    assert not _own_left(call.operation for call in calls)
    assert all(call.arguments[1].get("training") is not True for call in calls)


def test_a_mask_is_not_read():
    class Masked(K.Layer):
        supports_masking = True

        def call(self, x, mask=None):
            return x if mask is None else x * ops.cast(ops.expand_dims(mask, -1), x.dtype)

    inputs = keras.Input((4, 2))
    model = keras.Model(inputs, Masked()(K.Masking()(inputs)))
    (call,) = _calls_of(model, Masked)
    assert "called with a mask" in call.doubt
    assert not _calls_of(keras.Model(inputs, Masked()(inputs)), Masked)


def test_reading_changes_nothing_in_the_model(rng):
    inputs = keras.Input((6, 6, 3))
    counter = Counter()
    x = Attention(3)(Scale("left")(counter(Stage(3)(inputs))))
    model = _hard(keras.Model(inputs, x), rng)
    parts = list(model._flatten_layers())

    def state():
        calls = [(len(part._inbound_nodes), len(part._outbound_nodes)) for part in parts]
        own = [sorted(name for name in vars(part) if not name.startswith("_")) for part in parts]
        return calls, own, [np.array(ops.convert_to_numpy(weight)) for weight in model.weights]

    before = state()
    graph = read(model)
    after = state()
    assert before[:2] == after[:2]
    for some, others in zip(before[2], after[2], strict=True):
        np.testing.assert_array_equal(some, others)
    calls = [node.op.operation for node in graph.nodes() if isinstance(node.op, KerasCall)]
    assert _own_left(calls) == ["Counter"]
    # And the operators of weights are Keras's own again.
    assert not isinstance(counter.seen * 2, keras.KerasTensor)
    assert keras.Variable.__mul__.__module__.startswith("keras.")


# Names.


def test_names_are_those_of_the_layers_and_of_the_functions_within(rng):
    inputs = keras.Input((6, 6, 3))
    x = Scale("left", name="scale")(Stage(3, name="stage")(inputs))
    model = _hard(keras.Model(inputs, K.ReLU(name="conv")(x)), rng)
    names = [node.name for node in read(model).nodes()]
    assert len(set(names)) == len(names)
    assert names[-1] == "conv"
    assert names[-2].startswith("scale_multiply")
