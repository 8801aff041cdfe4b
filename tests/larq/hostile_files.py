"""Writes Larq models whose files run code, loads each in safe mode and without it; beside Keras 2.

python hostile_files.py FOLDER: writes FOLDER/found.json, of every file what each of the two said, and
whether the file's code ran.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import h5py
import larq as lq
import tensorflow as tf
from tensorflow.python.trackable.resource import CapturableResource

layers = tf.keras.layers


def harmless(extra=None):
    x = inputs = layers.Input((4,), name="given")
    x = lq.layers.QuantDense(4, kernel_quantizer="ste_sign", kernel_constraint="weight_clip")(x)
    return tf.keras.Model(inputs, x if extra is None else extra(x))


def with_lambda(marker):
    # The path stands in the code, as an attacker would write it.
    code = f"lambda t: __import__('pathlib').Path({str(marker)!r}).touch() or t"
    return harmless(layers.Lambda(eval(code), name="evil"))


class WritesAFile(CapturableResource):
    """What a SavedModel initializes when it is loaded."""

    def __init__(self, marker):
        super().__init__()
        self.marker = marker

    def _create_resource(self):
        return tf.raw_ops.MutableHashTableV2(key_dtype=tf.string, value_dtype=tf.int64)

    def _initialize(self):
        tf.io.write_file(self.marker, "evil")

    def _destroy_resource(self):
        tf.raw_ops.NoOp()


def of_a_module(path, evil):
    """A .keras file with a model class of a module: importing it is enough."""
    harmless().save(path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    config.update(module=evil, class_name="Unknown", registered_name=None)
    entries["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def of_an_operator(path, marker):
    """An .h5 file whose operator writes a file, in place of adding."""
    harmless(lambda x: tf.math.add(x, 1.0)).save(path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        for layer in config["config"]["layers"]:
            if layer["class_name"] == "TFOpLambda":
                layer["config"]["function"] = "io.write_file"
                layer["inbound_nodes"] = [["_CONSTANT_VALUE", -1, str(marker), {"contents": "evil"}]]
        file.attrs["model_config"] = json.dumps(config)


#: What `write` writes.
FILES = (
    "lambda.h5",
    "lambda.keras",
    "lambda_saved_model",
    "module.keras",
    "operator.h5",
    "initializer_saved_model",
)


def write(folder, marker):
    (folder / "evil_module.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    sys.path.insert(0, str(folder))
    for name in FILES[:3]:
        with_lambda(marker).save(folder / name)
    of_a_module(folder / "module.keras", "evil_module")
    of_an_operator(folder / "operator.h5", marker)
    model = harmless()
    model.writes = WritesAFile(str(marker))
    model.save(folder / "initializer_saved_model")


def main(folder):
    from keras_sbn.larq.reading import describe_file

    marker = folder / "marker"
    found = {}
    write(folder, marker)
    for name in FILES:
        for safe_mode in (True, False):
            marker.unlink(missing_ok=True)
            try:
                said = type(describe_file(str(folder / name), (), safe_mode)).__name__
            except Exception as error:
                said = f"{type(error).__name__}: {error}"
            found[f"{name} {'safe' if safe_mode else 'unsafe'}"] = [said, marker.exists()]
    marker.unlink(missing_ok=True)
    (folder / "found.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
