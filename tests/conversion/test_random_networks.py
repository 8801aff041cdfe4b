"""Random small networks: the files of both targets compute what the hard model does, or name a layer."""

import os
import re
from collections import Counter

import keras
import numpy as np
import pytest
from conftest import run_everywhere
from hypothesis import given
from hypothesis import strategies as st
from random_networks import binary_network, drawing, refused_layers

import keras_sbn

#: `make fuzz` sets this to thousands.
NETWORKS = int(os.environ.get("KERAS_SBN_FUZZ", "25"))


def _converted(model, target, allow_float_fallback):
    """The file, or `None` where the error names a layer of the model."""
    refused = refused_layers(model)
    try:
        converted = keras_sbn.convert(model, target, allow_float_fallback=allow_float_fallback)
    except ValueError as error:
        named = set(re.findall(r"'([^']+)'", str(error)))
        names = tuple(refused or (layer.name for layer in model._flatten_layers()))
        if any(name.startswith(names) for name in named):
            return None
        raise
    assert not refused, f"{refused} converted"
    return converted


@pytest.mark.tensorflow
def test_files_compute_what_the_hard_model_does_or_name_a_layer():
    seen = Counter()

    @drawing(NETWORKS)
    @given(st.data())
    def check(data):
        model, x = binary_network(data.draw, max_blocks=3)
        # One layer after the other: TensorFlow's graphs merge a padding of channels into a convolution
        # as one of rows and columns, which is an error (2.21).
        outputs = keras.tree.flatten(model(x, training=False))
        expected = [keras.ops.convert_to_numpy(output) for output in outputs]
        seen["networks"] += 1
        for target in ("lce", "tflite"):
            converted = _converted(model, target, data.draw(st.booleans()))
            if converted is None:
                continue
            seen[target] += 1
            received = run_everywhere(converted, x, 1e-3)
            received = received if isinstance(received, list) else [received]
            for a, b in zip(received, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3, err_msg=target)
        keras.utils.clear_session()

    check()
    # Networks that are refused show nothing.
    assert seen["tflite"] >= 0.6 * seen["networks"]
    assert seen["lce"] >= 0.4 * seen["networks"]
