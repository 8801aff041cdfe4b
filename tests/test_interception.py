"""Methods of layers are replaced for a while, in one place."""

import keras
import numpy as np
import pytest

from keras_sbn.interception import intercepting, intercepting_class


def test_calls_go_through_the_function_and_come_back():
    layers = [keras.layers.Dense(2, name="one"), keras.layers.Dense(2, name="two")]
    network = keras.Sequential([keras.Input((2,)), *layers])
    x, seen = np.ones((1, 2), "float32"), []
    expected = keras.ops.convert_to_numpy(network(x))

    def around(layer, call, inputs):
        seen.append(layer.name)
        return call(inputs) * 0

    with intercepting(layers, around):
        assert not keras.ops.convert_to_numpy(network(x)).any()
        again = pytest.raises(RuntimeError, match="one interception of 'two' at a time")
        with again, intercepting(layers[1:], around):
            pass
    assert seen == ["one", "two"]
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(network(x)), expected)
    with pytest.raises(KeyError), intercepting(layers, around):
        raise KeyError
    assert "call" not in vars(layers[0])


def test_a_class_is_intercepted_for_a_while_and_only_where_it_defines_a_method():
    class Base:
        def inherited(self):
            return "base"

    class Number(Base):
        def __add__(self, other):
            return other

    def around(own, name, *args):
        return name, own(*args)

    with intercepting_class(Number, ("__add__", "inherited"), around):
        assert Number() + 3 == ("__add__", 3)
        assert Number().inherited() == "base"
    with pytest.raises(ZeroDivisionError), intercepting_class(Number, ("__add__",), around):
        raise ZeroDivisionError
    assert Number() + 3 == 3
    assert "inherited" not in vars(Number)
