"""Reading a file and measuring it need no Keras and no backend of it."""

import subprocess
import sys

from keras_sbn.process import _START

MODULES = (
    "keras_sbn.conversion.converted",
    "keras_sbn.conversion.inspection",
    "keras_sbn.conversion.report",
    "keras_sbn.tflite.costs",
    "keras_sbn.tflite.interpreter",
    "keras_sbn.tflite.metadata",
    "keras_sbn.tflite.reader",
    "keras_sbn.tflite.schema",
    "keras_sbn.tflite.worker",
    "keras_sbn.tflite.writer",
    "keras_sbn.verification.latency",
)


def test_the_modules_that_read_files_import_no_keras():
    import keras_sbn

    # The package's own __init__ is left out, as in a child process.
    lines = [*_START.splitlines()[:-2], *(f"import {name}" for name in MODULES)]
    lines += ["print(sorted({name.partition('.')[0] for name in sys.modules}))"]
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(lines), keras_sbn.__path__[0]],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "'numpy'" in run.stdout
    for name in ("keras", "tensorflow", "jax", "torch"):
        assert f"'{name}'" not in run.stdout
