"""What importing the package costs."""

import os
import subprocess
import sys

import pytest


def _python(code, backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def test_import_brings_no_tensorflow_of_its_own():
    code = "import keras_sbn, sys; print('tensorflow' in sys.modules)"
    assert _python(code, "jax") == "False"


def test_conversion_and_the_interpreter_bring_no_tensorflow_either():
    code = (
        "import keras, keras_sbn, numpy as np, sys\n"
        "m = keras.Sequential([keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(2)])\n"
        "keras_sbn.binarize(m)\n"
        "keras_sbn.convert(m).predict(np.ones((1, 32), 'float32'))\n"
        "print('tensorflow' in sys.modules)"
    )
    assert _python(code, "jax") == "False"


@pytest.mark.parametrize("module", ["matplotlib", "sklearn", "flatbuffers"])
def test_import_leaves_optional_packages_alone(module):
    code = (
        "import keras, sys; before = set(sys.modules)\n"
        f"import keras_sbn; print({module!r} in set(sys.modules) - before)"
    )
    assert _python(code, "jax") == "False"
