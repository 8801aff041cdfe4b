"""The places where files come in, and what each may say to a damaged one.

A check returns "survived" or "refused"; for the interpreter and for Larq's files, which are read in a
process of their own, also "ended". Whatever else happens is wrong: another exception, an answer that is
not that of the whole file where a checksum should have told, seconds without an answer, or much memory.
"""

from __future__ import annotations

import io
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from fuzz.damage import damaged, damaged_inside

SEEDS = Path(__file__).parent / "seeds"
SURVIVED, REFUSED, ENDED = "survived", "refused", "ended"


@dataclass(frozen=True)
class Door:
    """A place where files come in.

    Attributes:
        name: Its name.
        check: From the bytes of a file and an empty folder to what came of it.
        seeds: Whole files, to be damaged.
        inside: Whether the entries of zip archives are damaged as well, with a right checksum.
    """

    name: str
    check: Callable[[bytes, Path, bool], str]
    seeds: Callable[[], list[bytes]]
    inside: bool = False

    def damaged(self, rng: Any) -> tuple[bytes, bool]:
        """A damaged file, and whether its checksums are right."""
        seeds = self.seeds()
        seed = rng.choice(seeds)
        inside = self.inside and rng.random() < 0.5 and seed.startswith(b"PK")
        return (damaged_inside if inside else damaged)(seed, rng, seeds), inside


def _files(*patterns: str) -> Callable[[], list[bytes]]:
    @cache
    def read() -> list[bytes]:
        return [path.read_bytes() for pattern in patterns for path in sorted(SEEDS.glob(pattern))]

    return read


def _runnable() -> list[bytes]:
    # TensorFlow, which runs stock files where LiteRT is missing, takes seconds to start.
    return _files("*.tflite" if find_spec("ai_edge_litert") else "lce.tflite")()


def _refuses(function: Callable[..., Any], *arguments: Any) -> str:
    try:
        function(*arguments)
    except ValueError as error:
        said = str(error)
    else:
        return SURVIVED
    assert "Expected" in said, f"an error without a word of what was expected: {said}"
    return REFUSED


def _reader(content: bytes, folder: Path, right: bool) -> str:
    from keras_sbn.tflite.reader import read_file

    return _refuses(read_file, content)


def _inspect(content: bytes, folder: Path, right: bool) -> str:
    from keras_sbn.conversion.inspection import inspect

    def described() -> str:
        return str(inspect(content))

    return _refuses(described)


def _metadata(content: bytes, folder: Path, right: bool) -> str:
    from keras_sbn.tflite.metadata import read_metadata

    return _refuses(read_metadata, content)


#: A larger input is not made for a damaged file.
_LARGEST_INPUT = 1 << 20
_SECONDS = 60


def _interpreter(content: bytes, folder: Path, right: bool) -> str:
    """As the command line: what the reader refuses is not run, and the rest in a process of its own."""
    from keras_sbn.tflite.reader import read_file
    from keras_sbn.tflite.worker import Worker

    if _refuses(read_file, content) == REFUSED:
        return REFUSED
    info = read_file(content)
    target = "lce" if any(op.name.startswith("Lce") for op in info.operators) else "tflite"
    shapes = [(1, *tensor.shape[1:]) for tensor in info.inputs]
    if sum(int(np.prod(shape, dtype=object)) for shape in shapes) > _LARGEST_INPUT:
        return REFUSED
    kinds = {"float32": "float32", "int8": "int8", "uint8": "uint8"}
    inputs = [
        np.ones(shape, kinds.get(tensor.dtype, "float32"))
        for shape, tensor in zip(shapes, info.inputs, strict=True)
    ]
    found: list[Any] = []
    with Worker(content, target) as worker:

        def answer() -> None:
            try:
                worker.submit(inputs)
                found.append(worker.result())
            except Exception as error:
                found.append(error)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        thread.join(_SECONDS)
    assert found, f"no answer in {_SECONDS} seconds"
    (answered,) = found
    if isinstance(answered, list):
        return SURVIVED
    assert isinstance(answered, RuntimeError | ValueError), repr(answered)
    # A process that an exception ends has refused the file.
    return ENDED if "exit code -" in str(answered) or "ended by signal" in str(answered) else REFUSED


class _Larq:
    """Larq's files, read in a process with Keras 2 that goes on from file to file."""

    def __init__(self) -> None:
        self._child: Any = None

    @cache  # noqa: B019 (one object)
    def seeds(self) -> list[bytes]:
        """The model of the door of Keras as Larq's, in both formats of the Keras 2 that is there."""
        import keras_sbn

        files = []
        with tempfile.TemporaryDirectory() as folder:
            for suffix in (".h5", ".keras"):
                path = Path(folder) / f"model{suffix}"
                keras_sbn.larq.to_larq(_small_model(), path)
                files.append(path.read_bytes())
        return files

    def check(self, content: bytes, folder: Path, right: bool) -> str:
        """As `from_larq`, but for the start of the process."""
        from keras_sbn.larq import importing, process, reading
        from keras_sbn.process import ProcessEndedError

        path = folder / ("model.keras" if content[:2] == b"PK" else "model.h5")
        path.write_bytes(content)
        if self._child is None:
            self._child = process.child_with_keras_2()

        def read() -> None:
            found = process.run_in(self._child, reading.describe_file, str(path))
            importing.from_description(found)

        try:
            return _refuses(read)
        except (ProcessEndedError, TimeoutError):
            # The library of HDF5 goes round in some damaged files and never comes back.
            self._end()
            return ENDED
        except BaseException:
            self._end()  # Its answer would be taken for that of the next file.
            raise

    def _end(self) -> None:
        self._child.close()
        self._child = None


_LARQ = _Larq()


def _small_model() -> Any:
    import keras

    import keras_sbn

    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras_sbn.layers.SelfBinarizingConv2D(4, 3),
            keras.layers.BatchNormalization(),
            keras_sbn.layers.SelfBinarizingActivation(),
            keras.layers.Flatten(),
            keras_sbn.layers.SelfBinarizingDense(3),
        ]
    )
    keras_sbn.binarize(model)
    return model


@cache
def _keras_files() -> list[bytes]:
    """Written by the Keras that is there, as its files differ from version to version."""
    import keras_sbn

    model = _small_model()
    files = []
    for each in (model, keras_sbn.fold(model)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            each.save(path)
            files.append(path.read_bytes())
    return files


@cache
def _folded_weights() -> tuple[list[np.ndarray], ...]:
    import keras

    found = []
    for content in _keras_files():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            path.write_bytes(content)
            found.append(keras.models.load_model(path, compile=False).get_weights())
    return tuple(found)


def _keras(content: bytes, folder: Path, right: bool) -> str:
    import argparse

    from keras_sbn.cli.common import load_model

    path = folder / "model.keras"
    path.write_bytes(content)
    models: list[Any] = []

    def read() -> None:
        models.append(load_model(argparse.Namespace(model=str(path), binarize=False)))

    if _refuses(read) == REFUSED:
        return REFUSED
    if not right:
        weights = models[0].get_weights()
        same = [
            len(known) == len(weights)
            and all(np.array_equal(a, b) for a, b in zip(known, weights, strict=True))
            for known in _folded_weights()
        ]
        assert any(same), "a damaged file was loaded with other weights"
    return SURVIVED


@cache
def _npz_files() -> list[bytes]:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (12, 5, 4, 3), "uint8"), np.arange(12) % 3
    files = []
    for save, more in ((np.savez, {}), (np.savez_compressed, {"x_test": x[:6], "y_test": y[:6]})):
        stream = io.BytesIO()
        save(stream, x_train=x, y_train=y, **more)
        files.append(stream.getvalue())
    return files


def _npz(content: bytes, folder: Path, right: bool) -> str:
    from keras_sbn import data

    path = folder / "data.npz"
    path.write_bytes(content)

    def read() -> Any:
        dataset = data.load(path)
        return [(dataset.train, dataset.validation), dataset.arrays(), dataset.train.images[:]]

    if _refuses(read) == REFUSED:
        return REFUSED
    for split in read()[0]:
        images = split.images[:]
        assert images.dtype == np.uint8
        assert len(images) == len(split.labels) >= 1
        assert split.labels.min() >= 0
    if not right:
        # Only names and notes of the archive may have changed.
        arrays = [split.images[:].tobytes() for split in read()[0]]
        assert sorted(arrays) in _whole_npz(), "a damaged file was loaded with other images"
    return SURVIVED


@cache
def _whole_npz() -> list[list[bytes]]:
    """The images of the whole files, and of those that have lost the second pair of their arrays."""
    from keras_sbn import data

    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.npz"
        for names in (["x_train", "y_train"], ["x_train", "y_train", "x_test", "y_test"]):
            for content in _npz_files():
                with np.load(io.BytesIO(content)) as file:
                    np.savez(path, **{name: file[name] for name in names if name in file.files})
                dataset = data.load(path)
                splits = (dataset.train, dataset.validation)
                found.append(sorted(split.images[:].tobytes() for split in splits))
    return found


def _image(content: bytes, folder: Path, right: bool) -> str:
    from keras_sbn.data.images import from_files

    path = folder / "image.png"
    path.write_bytes(content)

    def read() -> Any:
        return from_files([path], (8, 8))[:]

    if _refuses(read) == REFUSED:
        return REFUSED
    images = read()
    assert images.dtype == np.uint8
    assert images.shape in ((1, 8, 8, 1), (1, 8, 8, 3))
    return SURVIVED


def _settings(content: bytes, folder: Path, right: bool) -> str:
    from keras_sbn.training.settings import TrainSettings

    path = folder / "run.toml"
    path.write_bytes(content)
    return _refuses(TrainSettings.read, path)


def _labels(content: bytes, folder: Path, right: bool) -> str:
    from keras_sbn.cli.common import read_labels

    path = folder / "labels.txt"
    path.write_bytes(content)
    return _refuses(read_labels, str(path))


@cache
def _npy_files() -> list[bytes]:
    files = []
    for array in (np.arange(24, dtype="float32").reshape(2, 3, 4), np.arange(12, dtype="uint8")):
        stream = io.BytesIO()
        np.save(stream, array)
        files.append(stream.getvalue())
    return files


def _npy(content: bytes, folder: Path, right: bool) -> str:
    from keras_sbn.cli.common import read_data

    path = folder / "inputs.npy"
    path.write_bytes(content)
    return _refuses(read_data, str(path))


@cache
def _toml_files() -> list[bytes]:
    from keras_sbn.training.settings import TrainSettings

    with tempfile.TemporaryDirectory() as folder:
        path = TrainSettings(epochs=3, image_size=(8, 8)).save(Path(folder) / "run.toml")
        return [path.read_bytes()]


def _label_files() -> list[bytes]:
    return ["cat\ndog\nnaïve 🙂\n猫\n".encode()]


DOORS = {
    door.name: door
    for door in (
        Door("reader", _reader, _files("*.tflite")),
        Door("inspect", _inspect, _files("*.tflite")),
        Door("metadata", _metadata, _files("metadata*.tflite")),
        Door("interpreter", _interpreter, _runnable),
        Door("keras", _keras, _keras_files, inside=True),
        Door("larq", _LARQ.check, _LARQ.seeds, inside=True),
        Door("npz", _npz, _npz_files, inside=True),
        Door("npy", _npy, _npy_files),
        Door("image", _image, _files("*.png", "*.jpg", "*.gif", "*.webp", "*.bmp", "*.tif")),
        Door("settings", _settings, _toml_files),
        Door("labels", _labels, _label_files),
    )
}
