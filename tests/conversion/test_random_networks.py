"""Random small networks: the files of both targets compute what the hard model does, or name a layer."""

import os
import re

import keras
import numpy as np
import pytest
from conftest import run_everywhere
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from random_networks import binary_network

import keras_sbn

#: `make fuzz` sets this to thousands.
NETWORKS = int(os.environ.get("KERAS_SBN_FUZZ", "25"))


@pytest.mark.tensorflow
@settings(
    max_examples=NETWORKS,
    deadline=None,
    derandomize=NETWORKS <= 100,
    suppress_health_check=list(HealthCheck),
    # Shrinking a network takes longer than reading it.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    print_blob=True,
)
@given(st.data())
def test_files_compute_what_the_hard_model_does_or_name_a_layer(data):
    model, x = binary_network(data.draw, max_blocks=3)
    expected = keras.tree.flatten(model.predict_on_batch(x))
    for target in ("lce", "tflite"):
        try:
            converted = keras_sbn.convert(model, target, allow_float_fallback=data.draw(st.booleans()))
        except ValueError as error:
            named = set(re.findall(r"'([^']+)'", str(error)))
            layers = tuple(layer.name for layer in model._flatten_layers())
            if any(name.startswith(layers) for name in named):
                continue
            raise
        received = run_everywhere(converted, x, 1e-3)
        received = received if isinstance(received, list) else [received]
        for a, b in zip(received, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3, err_msg=target)
    keras.utils.clear_session()
