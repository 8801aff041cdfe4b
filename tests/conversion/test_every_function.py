"""Every function of `keras.ops`, with arguments that users give it: equal, or refused by name.

The functions are those that the installed Keras has, whether a rule knows them or not.
"""

import inspect
import os
import zlib

import keras
import numpy as np
import pytest
from conftest import randomize
from every import check

import keras_sbn
from keras_sbn import layers
from keras_sbn.conversion.registry import LOWERINGS
from keras_sbn.folding.kinds import GET_ITEM

ops = keras.ops

#: Of every so many calls one is tried; `make fuzz` tries all.
EVERY = 1 if "KERAS_SBN_FUZZ" in os.environ else 12
FUNCTIONS = [name for name in dir(ops) if inspect.isfunction(getattr(ops, name))]
_ROW = np.array([0.5, -1.0, 2.0, 0.25], "float32")
_MAP = np.linspace(-1, 1, 64, dtype="float32").reshape(1, 4, 4, 4)
#: Calls of a function on one or two tensors of 4 x 4 x 4, as users write them.
CALLS = {
    "x": lambda f, x, y: f(x),
    "x, y": lambda f, x, y: f(x, y),
    "[x, y]": lambda f, x, y: f([x, y]),
    "[x, y], axis=1": lambda f, x, y: f([x, y], axis=1),
    "[x, y], axis=-1": lambda f, x, y: f([x, y], axis=-1),
    "[x, array]": lambda f, x, y: f([x, _MAP]),
    "axis=-1": lambda f, x, y: f(x, axis=-1),
    "axis=0": lambda f, x, y: f(x, axis=0),
    "axis=(1, 2)": lambda f, x, y: f(x, axis=(1, 2)),
    "axis=2, keepdims": lambda f, x, y: f(x, axis=2, keepdims=True),
    "x, row": lambda f, x, y: f(x, _ROW),
    "row, x": lambda f, x, y: f(_ROW, x),
    "x, map": lambda f, x, y: f(x, _MAP),
    "x, 2": lambda f, x, y: f(x, 2),
    "x, 2, axis=-1": lambda f, x, y: f(x, 2, axis=-1),
    "x, 0.5": lambda f, x, y: f(x, 0.5),
    "x, -1.5": lambda f, x, y: f(x, -1.5),
    "2.0, x": lambda f, x, y: f(2.0, x),
    "x, -0.5, 0.5": lambda f, x, y: f(x, -0.5, 0.5),
    "x, 2, -1": lambda f, x, y: f(x, 2, -1),
    "x, None, 0.5": lambda f, x, y: f(x, None, 0.5),
    "x, 1, 2": lambda f, x, y: f(x, 1, 2),
    "x, row, map": lambda f, x, y: f(x, _ROW - 2, _MAP + 2),
    "x > 0, x, y": lambda f, x, y: f(x > 0, x, y),
    "x > 0": lambda f, x, y: f(x > 0),
    "x, shape": lambda f, x, y: f(x, (-1, 16, 4)),
    "x, order": lambda f, x, y: f(x, (0, 2, 1, 3)),
    "x, (2, 2)": lambda f, x, y: f(x, (2, 2)),
    "x, (2, 2), (2, 2)": lambda f, x, y: f(x, (2, 2), (2, 2)),
    "x, widths": lambda f, x, y: f(x, ((0, 0), (1, 1), (0, 1), (0, 0))),
    "x, widths, 1.0": lambda f, x, y: f(x, ((0, 0), (1, 1), (0, 1), (0, 0)), constant_values=1.0),
    "x, start, shape": lambda f, x, y: f(x, (0, 1, 1, 0), (1, 2, 2, 1)),
    "x, kernel": lambda f, x, y: f(x, np.ones((3, 3, 4, 2), "float32")),
    "x, kernel, strides": lambda f, x, y: f(x, np.full((2, 2, 2, 4), 0.25, "float32"), strides=2),
    "x, kernel, same": lambda f, x, y: f(x, np.full((3, 2, 4, 3), 0.5, "float32"), padding="same"),
    "x, 2, same": lambda f, x, y: f(x, 3, 2, padding="same"),
    "x, matrix": lambda f, x, y: f(x, np.stack([_ROW, -_ROW], axis=-1)),
    "matrix, x": lambda f, x, y: f(np.eye(4, dtype="float32"), x),
    "x, rows, axis": lambda f, x, y: f(x, _ROW, _ROW**2, -1, _ROW, _ROW + 2, epsilon=0.5),
    "x, -1, axis=1": lambda f, x, y: f(x, -1, axis=1),
    "x, (1, 2), axis=(1, -1)": lambda f, x, y: f(x, (1, 2), axis=(1, -1)),
    "x, (1, 2, 3)": lambda f, x, y: f(x, (1, 2, 3)),
    "[x, y], axis=2": lambda f, x, y: f([x, y], axis=2),
    "x, float32": lambda f, x, y: f(x, "float32"),
    "x, indices, axis=-1": lambda f, x, y: f(x, np.array([1, 0]), axis=-1),
    "x, indices, axis=1": lambda f, x, y: f(x, np.array([1, 0]), axis=1),
    "x, int32": lambda f, x, y: f(x, "int32"),
    "x, float16": lambda f, x, y: f(x, "float16"),
    "x, bool": lambda f, x, y: f(x, "bool"),
    "abcd,de->abce": lambda f, x, y: f("abcd,de->abce", x, np.diag(_ROW)),
    "abcd->abdc": lambda f, x, y: f("abcd->abdc", x),
}


def network(name, call, signs, rng):
    """A network around one call, or `None` where the function does not take the arguments."""
    inputs = keras.Input((6, 6, 3))
    x, y = (layers.BinaryBatchNormalization()(layers.SelfBinarizingConv2D(4, 3)(inputs)) for _ in "ab")
    if signs:
        x, y = layers.SelfBinarizingActivation()(x), layers.SelfBinarizingActivation()(y)
    try:
        found = call(getattr(ops, name), x, y)
        found = [value for value in keras.tree.flatten(found) if isinstance(value, keras.KerasTensor)]
        model = keras.Model(inputs, found[0])
    except Exception:
        return None
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def test_the_calls_reach_the_functions_that_convert(rng):
    reached = set()
    for name in FUNCTIONS:
        for call in CALLS.values():
            model = network(name, call, False, rng)
            if model is not None:
                reached.add(type(model.operations[-1]))
                break
    known = {kind for kind in LOWERINGS if not issubclass(kind, keras.layers.Layer)}
    known = {kind for kind in known if issubclass(kind, keras.Operation) and kind is not GET_ITEM}
    assert known <= reached, known - reached


def chosen(name, call, signs):
    return zlib.crc32(f"{name} {call} {signs}".encode()) % EVERY == 0


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_equal_or_refused_by_name(name, rng):
    for label, call in CALLS.items():
        for signs in (True, False):
            if chosen(name, label, signs):
                model = network(name, call, signs, rng)
                if model is not None:
                    check(model, f"{name}({label}), signs={signs}", rng)
