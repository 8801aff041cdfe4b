"""Files that want to run code or to leave their place, at every door but Larq's (tests/larq)."""

import io
import json
import struct
import zipfile
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn import cli, data
from keras_sbn.tflite.metadata import read_metadata
from keras_sbn.training.settings import TrainSettings

#: Before it, files of Keras ran code: advisories CVE-2025-1550, 8747, 9905, 9906 and 12058 of Keras.
needs_keras_that_is_safe = pytest.mark.skipif(
    tuple(map(int, version("keras").split(".")[:2])) < (3, 12), reason="Keras itself runs what files say"
)
SEEDS = Path(__file__).parent / "seeds"


class Evil:
    """An object whose pickle touches a file when it is opened."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.fixture
def marker(tmp_path):
    """What no code may make."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


def pickled(marker):
    array = np.empty(12, object)
    array[:] = [Evil(marker)] * 12
    return array


def test_the_pickle_is_hostile(tmp_path):
    path = tmp_path / "evil.npy"
    np.save(path, pickled(tmp_path / "ran"))
    np.load(path, allow_pickle=True)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["x_train", "y_train", "x_test", "y_test"])
def test_npz_as_a_data_set(tmp_path, marker, name):
    x, y = np.zeros((12, 4, 4, 3), "uint8"), np.arange(12) % 2
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y, name: pickled(marker)}
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=f"data.npz, {name} holds Python objects"):
        data.load(tmp_path / "data.npz")


def test_npz_with_an_entry_that_is_a_pickle(tmp_path, marker):
    import pickle

    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        for name in ("x_train", "y_train"):
            archive.writestr(f"{name}.npy", pickle.dumps(Evil(marker)))
    with pytest.raises(ValueError, match="x_train is no array of NumPy"):
        data.load(tmp_path / "data.npz")


@pytest.mark.parametrize("name", ["inputs.npy", "inputs.npz", "pickle.npy"])
def test_inputs_of_the_command_line(tmp_path, marker, name, capsys):
    import pickle

    path = tmp_path / name
    if name == "pickle.npy":
        path.write_bytes(pickle.dumps(Evil(marker)))
    else:
        (np.save if name.endswith("npy") else np.savez)(path, pickled(marker))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    keras_sbn.convert(model, target="tflite").save(tmp_path / "model.tflite")
    command = [
        "verify",
        str(tmp_path / "model.keras"),
        str(tmp_path / "model.tflite"),
        "--data",
        str(path),
    ]
    assert cli.main(command) == 2
    assert str(path) in capsys.readouterr().err


def test_a_run_s_settings(tmp_path, marker):
    for value in (
        f"!!python/object/apply:os.system ['touch {marker}']",
        f"__import__('os').mkdir({str(marker)!r})",
    ):
        (tmp_path / "run.toml").write_text(f"model = {value!r}\n")
        with pytest.raises(ValueError, match="Expected"):
            TrainSettings.read(tmp_path / "run.toml")
        (tmp_path / "run.toml").write_text(f"model = {value}\n")
        with pytest.raises(ValueError, match="Expected a TOML file"):
            TrainSettings.read(tmp_path / "run.toml")


def renamed(content, name):
    """The file of labels that the metadata name, under another name of the same length."""
    old = b"labels.txt"
    assert len(name) == len(old)
    assert content.count(old) > 1
    return content.replace(old, name.encode(), 1)


def test_metadata_name_only_what_is_in_the_file(tmp_path, monkeypatch):
    """The name of the labels is looked up in the archive behind the model, and nowhere else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.txt").write_text("a\nb\nc\n")
    content = (SEEDS / "metadata.tflite").read_bytes()
    assert read_metadata(content).labels == ("cat", "dog", "naïve")
    for name in ("secret.txt", "/etc/hosts", "../aa/b.tx"):
        with pytest.raises(ValueError, match="Expected whole TFLite metadata"):
            read_metadata(renamed(content, name))


def test_labels_that_unpack_to_more_than_memory():
    content = (SEEDS / "metadata.tflite").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        start = min(entry.header_offset for entry in archive.infolist())
    stream = io.BytesIO(content[:start])
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", b"\n" * (64 << 20))
    assert len(stream.getvalue()) < 200_000
    with pytest.raises(ValueError, match="labels of 67108864 bytes"):
        read_metadata(stream.getvalue())


def test_labels_of_the_command_line(tmp_path, marker, capsys):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.save(tmp_path / "model.keras")
    labels = tmp_path / "labels.txt"
    out = tmp_path / "out.tflite"
    command = ["convert", str(tmp_path / "model.keras"), "--target", "tflite", "--out", str(out)]
    labels.write_text(f"$(touch {marker})\n`touch {marker}`\n")
    assert cli.main([*command, "--labels", str(labels)]) == 0
    assert read_metadata(out.read_bytes()).labels == tuple(labels.read_text().splitlines())
    labels.write_bytes(b"\x80\x04\x95cposix\nsystem\n")
    assert cli.main([*command, "--labels", str(labels)]) == 2
    assert "a class a line" in capsys.readouterr().err


def with_lambda(marker):
    code = f"lambda t: __import__('pathlib').Path({str(marker)!r}).touch() or t"
    return keras.Sequential([keras.Input((4,)), keras.layers.Lambda(eval(code), output_shape=(4,))])


@needs_keras_that_is_safe
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_model_with_code(tmp_path, marker, suffix, capsys):
    path = tmp_path / f"model{suffix}"
    with_lambda(marker).save(path)
    marker.unlink(missing_ok=True)
    for command in (["fold"], ["convert"]):
        assert cli.main([*command, str(path), "--out", str(tmp_path / "out.keras")]) == 2
        assert "Expected a .keras file of a model" in capsys.readouterr().err


@needs_keras_that_is_safe
def test_a_model_of_a_module(tmp_path, marker, monkeypatch, capsys):
    """Importing the module is enough."""
    (tmp_path / "evil_module.py").write_text(f"open({str(marker)!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(entries["config.json"])
    config.update(module="evil_module", class_name="Unknown", registered_name=None)
    entries["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert cli.main(["fold", str(path), "--out", str(tmp_path / "out.keras")]) == 2
    assert "Expected a .keras file of a model" in capsys.readouterr().err


def test_the_length_of_a_vector_is_not_believed():
    """A file of a few bytes that claims billions of tensors is refused before they are counted."""
    content = bytearray((SEEDS / "lce.tflite").read_bytes())
    for at in range(8, len(content) - 4, 4):
        changed = bytes(content[:at]) + struct.pack("<I", 2**31 - 1) + bytes(content[at + 4 :])
        try:
            report = keras_sbn.inspect(changed)
        except ValueError as error:
            assert "Expected" in str(error)  # noqa: PT017
        else:
            assert report.file_bytes == len(content)
        if at > 2000:
            break
