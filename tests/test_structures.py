"""Which value of a dictionary or a nesting is which input or output."""

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn.structures import inputs_in_order, names_in_order, order_by_name, outputs_in_order


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
