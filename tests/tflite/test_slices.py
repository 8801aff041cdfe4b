"""The values that a strided slice takes are those of NumPy, and of the interpreter."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sbn.tflite.slices import strided

_SHAPE = (4, 5, 3)


@given(st.data())
def test_a_slice_takes_what_numpy_takes(data):
    begin, end, strides, key = [], [], [], []
    masks = dict.fromkeys(("beginMask", "endMask", "shrinkAxisMask"), 0)
    for axis, size in enumerate(_SHAPE):
        begin.append(data.draw(st.integers(-size, size - 1)))
        end.append(data.draw(st.integers(-size - 1, size + 1)))
        strides.append(data.draw(st.sampled_from([1, 2, 3, -1, -2])))
        bits = {name: data.draw(st.booleans()) for name in masks}
        for name, bit in bits.items():
            masks[name] |= bit << axis
        if bits["shrinkAxisMask"]:
            key.append(begin[-1])
        else:
            first = None if bits["beginMask"] else begin[-1]
            key.append(slice(first, None if bits["endMask"] else end[-1], strides[-1]))
    values = np.arange(np.prod(_SHAPE)).reshape(_SHAPE)
    taken = strided(masks, _SHAPE, begin, end, strides)
    found = values[np.ix_(*taken)]
    np.testing.assert_array_equal(found.reshape(values[tuple(key)].shape), values[tuple(key)])


@pytest.mark.parametrize("name", ["ellipsisMask", "newAxisMask", "offset"])
def test_what_is_not_read_is_refused(name):
    with pytest.raises(ValueError, match=rf"Expected a STRIDED_SLICE .*Received: one with {name}=2"):
        strided({name: 2}, (2,), [0], [1], [1])
