"""Names, structures and masks of the models that are read and built again; who reads what."""

import keras
import numpy as np
import pytest
from conftest import activate, images, randomize

import keras_sbn
from keras_sbn import layers
from keras_sbn.folding import graph as graphs
from keras_sbn.folding.graph import Graph, Node
from keras_sbn.folding.ops import Sign

K = keras.layers


def _hard(model, rng):
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def _assert_equal(model, x):
    folded = keras_sbn.fold(model)
    expected, found = model.predict(x, verbose=0), folded.predict(x, verbose=0)
    for wanted, received in zip(keras.tree.flatten(expected), keras.tree.flatten(found), strict=True):
        np.testing.assert_allclose(received, wanted, rtol=1e-5, atol=1e-5)
    return folded


def test_a_dense_layer_used_twice_under_automatic_names(rng):
    keras.utils.clear_session()
    inputs = x = keras.Input((8,))
    shared = layers.SelfBinarizingDense(8, binarize_input=True, use_bias=True)
    for _ in range(2):
        x = shared(x)
    # Its name is what the second use of the first layer would be called.
    x = layers.SelfBinarizingDense(4, binarize_input=True, name=f"{shared.name}_1")(x)
    _assert_equal(_hard(keras.Model(inputs, x), rng), images(rng, (8,)))


def test_a_name_that_a_rule_would_take_is_another_layers(rng):
    inputs = keras.Input((8,))
    x = layers.SelfBinarizingDense(6, activation="relu", name="fc", use_bias=True)(inputs)
    x = layers.SelfBinarizingDense(6, binarize_input=True, name="fc_activation")(x)
    x = layers.SelfBinarizingDense(6, name="fc_bias")(x)
    x = layers.SelfBinarizingDense(3, binarize_input=True, name="fc_activation_sign")(x)
    folded = _assert_equal(_hard(keras.Model(inputs, x), rng), images(rng, (8,)))
    assert {"fc", "fc_activation", "fc_bias", "fc_activation_sign"} <= {x.name for x in folded.layers}


def test_flatten_and_encoders_used_twice(rng):
    inside = keras.Input((4, 4, 2))
    flatten = K.Flatten(name="flatten")
    x = activate(layers.SelfBinarizingConv2D(4, 3, name="conv")(inside), K.BatchNormalization)
    encoder = keras.Model(inside, keras.ops.abs(flatten(x)), name="encoder")
    a, b = keras.Input((4, 4, 2)), keras.Input((4, 4, 2))
    both = keras.ops.abs(encoder(a) - encoder(b))
    outputs = [layers.SelfBinarizingDense(3, name="conv")(both), flatten(b)]
    model = _hard(keras.Model([a, b], outputs), rng)
    _assert_equal(model, [images(rng, (4, 4, 2)), images(rng, (4, 4, 2))])


def test_nested_models_with_layers_of_the_same_name(rng, tmp_path):
    inputs = x = keras.Input((6,))
    for _ in range(2):
        inside = keras.Input((6,))
        y = K.Dense(6, name="dense")(layers.SelfBinarizingDense(6, name="binary")(inside))
        x = keras.Model(inside, keras.ops.abs(y + 1))(x)
    model = _hard(keras.Model(inputs, x), rng)
    folded = _assert_equal(model, images(rng, (6,)))
    folded.save(tmp_path / "folded.keras")
    loaded = keras.models.load_model(tmp_path / "folded.keras")
    given = images(rng, (6,))
    np.testing.assert_array_equal(loaded.predict(given, verbose=0), folded.predict(given, verbose=0))


def test_new_names_are_given_once():
    source = Node("source", Sign(), [], (None, 3))
    graph = Graph("model", [], [source], names=["taken"])
    assert [graph.new_name(name) for name in ("source", "taken", "new", "new")] == [
        "source_1",
        "taken_1",
        "new",
        "new_1",
    ]


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_dictionaries_keep_their_keys_and_nested_outputs_their_structure(rng):
    """Also where keys are no names of inputs, and not in the order of the alphabet."""
    a, b = keras.Input((8,), name="first"), keras.Input((4,), name="second")
    left, right = layers.SelfBinarizingDense(6)(a), layers.SelfBinarizingDense(6)(b)
    outputs = {"z": [left, K.Add()([left, right])], "a": {"only": right}}
    model = _hard(keras.Model({"y": a, "x": b}, outputs), rng)
    x = {"y": images(rng, (8,)), "x": images(rng, (4,))}
    folded = _assert_equal(model, x)
    found = folded(x)
    # With PyTorch, Keras sorts keys.
    keys = ["x", "y"] if keras.backend.backend() == "torch" else ["y", "x"]
    assert list(folded.input) == keys
    assert sorted(found) == ["a", "z"]
    assert isinstance(found["z"], list)
    assert list(found["a"]) == ["only"]
    _assert_equal(folded, x)


@pytest.mark.parametrize("as_dictionary", [True, False])
def test_a_nested_model_takes_a_dictionary(as_dictionary, rng):
    p, q = keras.Input((8,), name="p"), keras.Input((8,), name="q")
    difference = layers.SelfBinarizingDense(3)(K.Subtract()([p, q]))
    inner = keras.Model({"p": p, "q": q} if as_dictionary else [q, p], difference)
    a, b = keras.Input((8,)), keras.Input((8,))
    model = _hard(keras.Model([a, b], inner({"q": a, "p": b})), rng)
    _assert_equal(model, [images(rng, (8,)), images(rng, (8,))])


@pytest.mark.parametrize("first", ["masking", "embedding"])
@pytest.mark.parametrize("last", ["flatten", "average", "sequence"])
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
@pytest.mark.filterwarnings("ignore:.*does not support masking")
def test_masks(first, last, rng):
    """Batch normalization ignores a mask at inference; an average over steps does not."""
    if first == "masking":
        inputs = keras.Input((5, 6))
        x = K.Masking()(inputs)
        given = images(rng, (5, 6))
        given[:, 3:] = 0
    else:
        inputs = keras.Input((5,), dtype="int32")
        x = K.Embedding(7, 6, mask_zero=True)(inputs)
        given = rng.integers(0, 7, (64, 5))
        given[:, 0] = 1
    x = activate(layers.SelfBinarizingDense(6)(x), K.BatchNormalization)
    x = layers.BinaryBatchNormalization()(layers.SelfBinarizingDense(4)(x))
    if last == "average":
        x = K.GlobalAveragePooling1D()(x)
        x = layers.SelfBinarizingActivation()(x)
    elif last == "flatten":
        x = layers.SelfBinarizingDense(3)(K.Flatten()(x))
    model = _hard(keras.Model(inputs, x), rng)
    folded = _assert_equal(model, given)
    assert "BatchNormalization" not in {type(layer).__name__ for layer in folded.layers}


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_a_nested_model_whose_layers_use_a_mask_is_refused(rng):
    inside = keras.Input((5, 6))
    inner = keras.Model(inside, K.GlobalAveragePooling1D(name="mean")(inside), name="inner")
    inputs = keras.Input((5, 6))
    x = layers.SelfBinarizingDense(6)(K.Masking()(inputs))
    model = _hard(keras.Model(inputs, inner(x)), rng)
    with pytest.raises(ValueError, match=r"nested model 'inner' to be called without a mask.*\['mean'\]"):
        keras_sbn.fold(model)
    # The remedy: the layer outside of the nested model.
    model = _hard(keras.Model(inputs, K.GlobalAveragePooling1D()(x)), rng)
    given = images(rng, (5, 6))
    given[:, 3:] = 0
    _assert_equal(model, given)


def test_readers_follow_every_change():
    def node(name, *inputs):
        return Node(name, Sign(), list(inputs), (None, 3))

    a = node("a")
    b, c = node("b", a), node("c", a)
    d = node("d", b, c, b)
    graph = Graph("model", [a], [d])
    assert graph.consumers(a) == [b, c]
    assert graph.consumers(b) == [d, d]
    assert not graph.has_one_use(a)
    e = node("e", node("f", a))
    graph.replace(c, e)
    assert [n.name for n in graph.nodes()] == ["a", "b", "f", "e", "d"]
    # `c` is gone, so that it does not count as a reader.
    assert [n.name for n in graph.consumers(a)] == ["b", "f"]
    d.inputs = [e]
    assert graph.has_one_use(a)
    assert graph.has_one_use(e)
    graph.outputs = [d, e]
    assert not graph.has_one_use(e)
    assert graph.is_output(e)


def test_a_second_graph_of_the_same_nodes_has_readers_of_its_own():
    a = Node("a", Sign(), [], (None, 3))
    b, c = (Node(name, Sign(), [a], (None, 3)) for name in "bc")
    both, one = Graph("both", [a], [b, c]), Graph("one", [a], [b])
    assert both.consumers(a) == [b, c]
    assert one.consumers(a) == [b]
    b.inputs = []
    assert both.consumers(a) == [c]
    assert one.consumers(a) == []


def test_a_deep_model_folds_in_few_steps_a_block(rng, monkeypatch):
    """Every rule is tried at a bounded number of nodes a block, and no walk is as deep as the model."""
    tried = {}
    for blocks in (15, 30, 60):
        inputs = x = keras.Input((3,))
        for _ in range(blocks):
            x = activate(layers.SelfBinarizingDense(3, binarize_input=True)(x), K.BatchNormalization)
        model = _hard(keras.Model(inputs, x), rng)
        count = [0]

        class Counted:
            def apply(self, graph, node, count=count):
                count[0] += 1
                return False

        walks = [0]
        nodes = graphs.Graph.nodes

        def counted(self, walks=walks, nodes=nodes):
            walks[0] += 1
            return nodes(self)

        monkeypatch.setattr(graphs.Graph, "nodes", counted)
        keras_sbn.fold(model, rules=[Counted()])
        monkeypatch.setattr(graphs.Graph, "nodes", nodes)
        tried[blocks] = (count[0], walks[0])
    assert tried[60][1] == tried[30][1] == tried[15][1]
    assert tried[60][0] - tried[30][0] < 2.2 * (tried[30][0] - tried[15][0])
