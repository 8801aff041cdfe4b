"""Every decision of a folded network is that of the hard one in float64, on random networks."""

import os

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_networks import binary_network, drawing, refused_layers
from reference import evaluate

from keras_sbn.folding.fold import fold

#: `make fuzz` sets this to thousands. JAX compiles every operation of every network anew, and the fold,
#: which is NumPy, is the same there: fewer do.
NETWORKS = int(os.environ.get("KERAS_SBN_FUZZ", "6" if keras.backend.backend() == "jax" else "16"))


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:.*in a mask attached|.*with a mask")
@drawing(NETWORKS)
@given(st.data())
def test_every_sign_and_every_output_is_that_of_the_hard_network(data):
    model, x = binary_network(data.draw, max_blocks=3 if NETWORKS <= 100 else 10)
    refused = refused_layers(model)
    if refused:
        with pytest.raises(ValueError, match="|".join(repr(name) for name in refused)):
            fold(model)
        return
    named, expected = evaluate(model, [x])
    folded, trace = fold(model, trace=True)
    at = {name: folded.get_layer(layer).output for name, layer in trace.signs.items()}
    signs = keras.Model(folded.inputs, at)([x]) if at else {}
    for name, values in signs.items():
        found = keras.ops.convert_to_numpy(values)
        differs = found != named[name].reshape(found.shape)
        if (differs & named.open[name].reshape(found.shape)).any():
            # float32 decides: the folded network as the hard one, there and in the end.
            if name in {layer.name for layer in model.layers}:
                hard = keras.Model(model.inputs, model.get_layer(name).output)(x, training=False)
                np.testing.assert_array_equal(
                    found, keras.ops.convert_to_numpy(hard).reshape(found.shape)
                )
            expected = [keras.ops.convert_to_numpy(model(x, training=False))]
            break
        np.testing.assert_array_equal(found, named[name].reshape(found.shape), err_msg=name)
    found = keras.ops.convert_to_numpy(folded(x))
    np.testing.assert_allclose(found, expected[0], rtol=1e-4, atol=1e-4)
    keras.utils.clear_session()
