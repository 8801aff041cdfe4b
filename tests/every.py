"""One check for whatever Keras has: a file computes it, or `convert` refuses it by name."""

import os
import re

import numpy as np
from conftest import run_everywhere

import keras_sbn
from keras_sbn.extras import why_not_run

_ALL = ("tflite", "lce", "micro", "c", "onnx")
#: Those whose files run here.
_TARGETS = [target for target in _ALL if why_not_run(target) is None]
#: All of them with `make fuzz`, else two of them for a network.
_TRIED = len(_TARGETS) if "KERAS_SBN_FUZZ" in os.environ else 2


def check(model, what, rng):
    """Folds the model and converts it; where that works, outputs are those of the model."""
    x = rng.integers(-2, 3, (8, 6, 6, 3)).astype("float32")
    try:
        expected = np.asarray(model.predict(x, verbose=0))
    except Exception:
        return  # Keras knows the shape of the output, and cannot compute it.
    names = {operation.name for operation in model.operations}
    for target in rng.permutation(_TARGETS)[:_TRIED]:
        options = {"representative_data": x} if target == "micro" else {"allow_float_fallback": True}
        try:
            converted = keras_sbn.convert(keras_sbn.fold(model), str(target), **options)
        except ValueError as error:
            message = str(error)
            assert re.match(r"(?s)Expected .*Received: ", message), (what, target, message)
            assert names & set(re.findall(r"'([^']+)'", message)), (what, target, message)
            continue
        stock = target in ("tflite", "lce")
        received = np.asarray(run_everywhere(converted, x, 1e-4) if stock else converted.predict(x))
        assert received.shape == expected.shape, (what, target)
        if target != "micro":  # Which rounds numbers that are no signs.
            np.testing.assert_allclose(received, expected, 1e-4, 1e-4, err_msg=f"{what} {target}")
