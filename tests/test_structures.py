"""Which value of a dictionary or a nesting is which input or output."""

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn.structures import (
    input_structure,
    inputs_in_order,
    names_in_order,
    order_by_name,
    output_structure,
    outputs_in_order,
)


def _model():
    first, second = keras.Input((2,), name="first"), keras.Input((3,), name="second")
    outputs = {"z": keras.layers.Dense(1)(first), "a": [keras.layers.Dense(2)(second), first]}
    with pytest.warns(UserWarning, match="all keys in the dict must match"):
        return keras.Model({"zeta": first, "alpha": second}, outputs)


def test_inputs_by_key_by_name_and_in_order():
    model = _model()
    assert [tensor.name for tensor in model.inputs] == ["second", "first"]
    for given in (
        {"zeta": 1, "alpha": 2},
        {"first": 1, "second": 2},
        {"alpha": 2, "zeta": 1, "more": 3},
        [2, 1],
        (2, 1),
    ):
        assert inputs_in_order(given, model, ["second", "first"]) == [2, 1]
    with pytest.raises(
        ValueError, match=r"Expected inputs named \['zeta', 'alpha'\]\. Received: \['zeta'\]"
    ):
        inputs_in_order({"zeta": 1}, model, ["second", "first"])
    with pytest.raises(ValueError, match=r"Expected 2 inputs, as the model has\. Received: 3"):
        inputs_in_order([1, 2, 3], model, ["second", "first"])
    assert inputs_in_order({"b": 1, "a": 2}, None, ["a", "b"]) == [2, 1]


@pytest.mark.parametrize("functional", [True, False])
def test_the_only_input_by_its_name(functional):
    layers = [keras.Input((3,), name="image"), keras.layers.Dense(2)]
    model = keras.Sequential(layers)
    if functional:
        model = keras.Model(model.inputs[0], model.outputs[0])
    for given in (1, [1], {"image": 1}, {"image": 1, "more": 2}):
        assert inputs_in_order(given, model, ["other"]) == [1]
    # By the name in the file.
    assert inputs_in_order({"other": 1}, model, ["other"]) == [1]
    with pytest.raises(ValueError, match=r"Expected inputs named \['image'\]\. Received: \['more'\]"):
        inputs_in_order({"more": 1}, model, ["other"])


def test_a_sequential_model_has_its_own_tensors_whoever_calls_it():
    model = keras.Sequential([keras.Input((3,), name="image"), keras.layers.Dense(2)])
    outer = keras.Input((3,), name="outer")
    keras.Model(outer, model(outer))
    assert input_structure(model).name == "image"
    assert output_structure(model) is model.outputs[0]


def test_a_model_without_a_graph_has_no_structures():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    for model in (Subclassed(), keras.Sequential([keras.layers.Dense(2)]), object(), None):
        assert input_structure(model) is None
        assert output_structure(model) is None


def test_outputs_in_the_order_of_the_model_whatever_the_order_of_the_keys():
    model = _model()
    found = outputs_in_order({"z": 1, "a": [2, 3]}, model)
    assert found == outputs_in_order({"a": [2, 3], "z": 1}, model) == [2, 3, 1]
    shapes = [tuple(tensor.shape[1:]) for tensor in model.outputs]
    assert shapes == [(2,), (2,), (1,)]
    assert names_in_order(model.output) == ["a", "a", "z"]


def test_names_decide_where_they_are_the_same_ones_and_the_order_elsewhere():
    assert order_by_name(["b", "a"], ["a", "b"]) == [1, 0]
    assert order_by_name(["x", "y"], ["a", "b"]) == [0, 1]
    # Keys that are the names of the other layer: the file has either, in its own order.
    assert order_by_name(["a", "b"], ["a", "b"], ["b", "a"]) == [0, 1]
    assert order_by_name(["b", "a"], ["a", "b"], ["b", "a"]) == [0, 1]
    assert order_by_name(["a", "a"], ["a", "a"]) == [0, 1]


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_representative_data_means_the_same(rng):
    given = {"zeta": keras.Input((4,), name="first"), "alpha": keras.Input((4,), name="second")}
    x = keras.layers.Add()([keras.layers.Dense(3)(given["zeta"]), keras.layers.Dense(3)(given["alpha"])])
    model = keras.Model(given, x)
    data = {"zeta": rng.normal(size=(9, 4)).astype("float32"), "alpha": np.ones((9, 4), "float32")}
    by_name = {"first": data["zeta"], "second": data["alpha"]}
    forms = (
        data,
        by_name,
        (data, np.zeros(9)),
        [data["alpha"], data["zeta"]],
        iter([data]),
        iter([by_name]),
    )
    files = {
        keras_sbn.convert(model, "tflite", activations="int8", representative_data=form).content
        for form in forms
    }
    assert len(files) == 1
