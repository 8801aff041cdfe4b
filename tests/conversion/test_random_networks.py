"""Random small networks: the files of both targets compute what the hard model does, or name a layer."""

import os
from collections import Counter

import keras
import numpy as np
import pytest
from conftest import first_differing_layer, run_everywhere
from hypothesis import given
from hypothesis import strategies as st
from random_networks import binary_network, drawing, made_or_none

import keras_sbn

#: `make fuzz` sets this to thousands.
NETWORKS = int(os.environ.get("KERAS_SBN_FUZZ", "20"))


@pytest.mark.tensorflow
def test_files_compute_what_the_folded_model_does_or_name_a_layer():
    # That the folded model decides as the hard one, tests/folding/test_random_networks.py shows: float32
    # rounds some ties of the hard one away.
    seen = Counter()

    @drawing(NETWORKS)
    @given(st.data())
    def check(data):
        model, x = binary_network(data.draw, max_blocks=3)
        seen["drawn"] += 1
        folded = made_or_none(lambda: keras_sbn.fold(model), model)
        if folded is None:
            return
        seen["networks"] += 1
        # One layer after the other: TensorFlow's graphs merge a padding of channels into a convolution as
        # one of rows and columns, which is an error (2.21).
        outputs = keras.tree.flatten(folded(x, training=False))
        expected = [keras.ops.convert_to_numpy(output) for output in outputs]
        for target in ("lce", "tflite"):
            fallback = data.draw(st.booleans())
            converted = made_or_none(
                lambda: keras_sbn.convert(folded, target, allow_float_fallback=fallback),  # noqa: B023
                model,
            )
            if converted is None:
                continue
            seen[target] += 1
            received = run_everywhere(converted, x, 1e-3)
            received = received if isinstance(received, list) else [received]
            for a, b in zip(received, expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3, err_msg=target)
            # Three outputs hide most of what is wrong before them.
            parts = x if isinstance(x, list) else [x]
            assert first_differing_layer(converted.content, target, folded, parts) is None
        keras.utils.clear_session()

    check()
    # Networks that are refused show nothing.
    assert seen["networks"] >= 0.5 * seen["drawn"]
    assert seen["tflite"] >= 0.6 * seen["networks"]
    assert seen["lce"] >= 0.4 * seen["networks"]
