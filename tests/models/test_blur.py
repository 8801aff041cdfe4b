"""The fixed kernel of QuickNet's pools."""

import keras
import numpy as np

from keras_sbn.models.blur import Blur


def test_binomial_kernel():
    kernel = keras.ops.convert_to_numpy(Blur()((3, 3, 2, 1), "float32"))
    np.testing.assert_array_equal(16 * kernel[..., 1, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    for size in (2, 5):
        kernel = keras.ops.convert_to_numpy(Blur()((size, size, 1, 1), "float32"))
        assert kernel.sum() == 1
    assert kernel[0, 0, 0, 0] * 256 == 1


def test_is_registered():
    assert isinstance(keras.initializers.get(keras.initializers.serialize(Blur())), Blur)
