import copy
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from conftest import digit_network, images, randomize

import keras_sbn
from keras_sbn.callbacks import Sharpen
from keras_sbn.tflite.interpreter import LceInterpreter
from keras_sbn.tflite.kernels import KernelsInterpreter, has_kernels
from keras_sbn.tflite.schema import schema
from keras_sbn.tflite.writer import finish

needs_kernels = pytest.mark.skipif(not has_kernels(), reason="needs keras-sbn-kernels and LiteRT")


@pytest.fixture
def model(rng):
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    return model


def test_saves_the_bytes(model, tmp_path):
    converted = keras_sbn.convert(model)
    path = converted.save(tmp_path / "model.tflite")
    assert path.read_bytes() == converted.content
    assert os.listdir(tmp_path) == ["model.tflite"]


@pytest.mark.parametrize("target", ["lce", "tflite"])
@pytest.mark.parametrize("threads", [4, 8])
def test_several_threads_get_their_own_results(target, threads, model, rng):
    converted = keras_sbn.convert(model, target)
    x = images(rng, (7, 6, 2), 40 * threads)
    parts = np.split(x, 10 * threads)
    expected = [converted.predict(part) for part in parts]
    start = threading.Barrier(threads)

    def run(mine):
        start.wait()
        return [[converted.predict(part) for part in mine] for _ in range(5)]

    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(run, [parts[i::threads] for i in range(threads)]))
    for i, rounds in enumerate(found):
        for received in rounds:
            np.testing.assert_array_equal(received, expected[i::threads])


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_pickles_and_copies_after_it_has_run(target, model, rng):
    converted = keras_sbn.convert(model, target)
    x = images(rng, (7, 6, 2), 4)
    expected = converted.predict(x)
    for other in (pickle.loads(pickle.dumps(converted)), copy.deepcopy(converted), copy.copy(converted)):
        assert other.content == converted.content
        assert (other.input_names, other.output_names) == (converted.input_names, converted.output_names)
        np.testing.assert_array_equal(other.predict(x), expected)


def test_a_console_shows_one_short_line(model, tmp_path):
    converted = keras_sbn.convert(model)
    size = f"{len(converted.content):,} bytes"
    inputs = "inputs: image float32 (1, 7, 6, 2)"
    assert repr(converted) == f"<ConvertedModel target='lce', {size}, {inputs}>"
    path = converted.save(tmp_path / "model.tflite")
    loaded = keras_sbn.ConvertedModel.load(path)
    assert repr(loaded) == f"<ConvertedModel {path}, target='lce', {size}, {inputs}>"


@needs_kernels
@pytest.mark.parametrize("threads", [4, 8])
def test_several_threads_get_their_own_results_of_the_kernels(threads, model, rng):
    converted = keras_sbn.convert(model, "lce")
    x = images(rng, (7, 6, 2), 8 * threads)
    expected = converted.predict(x, runtime="kernels")
    order = [rng.permutation(len(x)) for _ in range(threads)]
    start = threading.Barrier(threads)

    def run(mine):
        start.wait()
        return [converted.predict(x[i : i + 1], runtime="kernels")[0] for i in mine]

    with ThreadPoolExecutor(threads) as pool:
        for mine, found in zip(order, pool.map(run, order), strict=True):
            np.testing.assert_array_equal(found, expected[mine])


@pytest.mark.lce
def test_says_what_runs_it_and_runs_the_kernel_that_is_asked_for(model, rng):
    converted = keras_sbn.convert(model)
    x = images(rng, (7, 6, 2), 4)
    best = KernelsInterpreter if has_kernels() else LceInterpreter
    assert converted.runtime == best(converted.content).runtime
    expected = converted.predict(x)
    for kernel in ("default", "indirect", "reference"):
        received = converted.predict(x, kernel=kernel, xnnpack=False)
        np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
        with converted.pool(kernel=kernel, xnnpack=False).borrow() as interpreter:
            assert interpreter.runtime == f"LCE, {kernel} kernel"


def test_loads_from_a_path_from_bytes_and_from_itself(model, tmp_path):
    converted = keras_sbn.convert(model)
    path = converted.save(tmp_path / "model.tflite")
    assert keras_sbn.ConvertedModel.load(converted) is converted
    assert keras_sbn.ConvertedModel.load(path.read_bytes()).content == converted.content
    for file in (path, str(path), path.read_bytes(), converted):
        assert keras_sbn.inspect(file).file_bytes == len(converted.content)


def test_a_loaded_file_has_the_names_of_its_signature(model, rng):
    """Tensors are named after layers; a signature says what the model's dictionaries call them."""
    converted = keras_sbn.convert(model)
    file = schema().ModelT.InitFromObj(schema().Model.GetRootAs(converted.content, 0))
    signature = schema().SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = [], []
    graph = file.subgraphs[0]
    for entries, name, tensor in (
        (signature.inputs, "picture", graph.inputs[0]),
        (signature.outputs, "digit", graph.outputs[0]),
    ):
        entry = schema().TensorMapT()
        entry.name, entry.tensorIndex = name, int(tensor)
        entries.append(entry)
    file.signatureDefs = [signature]
    loaded = keras_sbn.ConvertedModel.load(finish(file))
    assert (loaded.input_names, loaded.output_names) == (("picture",), ("digit",))
    x = images(rng, (7, 6, 2), 4)
    np.testing.assert_array_equal(loaded.predict({"picture": x}), converted.predict(x))
    assert keras_sbn.verify(loaded, model, x)
    # Without one they are those of the tensors.
    plain = keras_sbn.ConvertedModel.load(converted.content)
    assert plain.output_names == tuple(tensor.name for tensor in converted.report.outputs)


def test_data_means_what_it_means_everywhere(model, rng):
    converted = keras_sbn.convert(model)
    x = images(rng, (7, 6, 2), 4)
    expected = converted.predict(x)
    for form in ([x], {"image": x}, (x, np.zeros(4)), (x,)):
        np.testing.assert_array_equal(converted.predict(form), expected)
    with pytest.raises(ValueError, match=r"Expected `x` to have inputs named \['image'\]"):
        converted.predict({"photo": x})


def test_a_folder_that_is_not_there_leaves_nothing(model, tmp_path):
    converted = keras_sbn.convert(model)
    with pytest.raises(OSError, match="Expected a folder that can be written"):
        converted.save(tmp_path / "missing" / "model.tflite")
    assert os.listdir(tmp_path) == []


def test_an_interrupted_write_leaves_the_old_file_whole(model, tmp_path, monkeypatch):
    converted = keras_sbn.convert(model)
    path = tmp_path / "model.tflite"
    path.write_bytes(b"old")

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        converted.save(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_a_saved_file_loads_and_predicts_the_same(model, tmp_path, rng):
    x = images(rng, (7, 6, 2), 8)
    for target in ("lce", "tflite"):
        converted = keras_sbn.convert(model, target=target)
        loaded = keras_sbn.ConvertedModel.load(converted.save(tmp_path / "model.tflite"))
        assert (loaded.target, loaded.input_names) == (target, ("image",))
        np.testing.assert_array_equal(loaded.predict(x), converted.predict(x))


def test_the_same_model_gives_the_same_bytes(model):
    assert keras_sbn.convert(model).content == keras_sbn.convert(keras_sbn.fold(model)).content


def test_a_trained_model_loaded_in_a_new_process_trains_on_and_converts_to_the_same_bytes(rng, tmp_path):
    model = digit_network()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, y = images(rng, (7, 6, 2)), rng.integers(0, 3, 64)
    model.fit(x, y, epochs=2, batch_size=16, callbacks=[Sharpen()], verbose=0)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=x, y=y)
    keras_sbn.convert(model).save(tmp_path / "here.tflite")
    code = f"""
        import keras, keras_sbn, numpy as np
        folder = {str(tmp_path)!r}
        model = keras.models.load_model(folder + "/model.keras")
        keras_sbn.convert(model).save(folder + "/there.tflite")
        data = np.load(folder + "/data.npz")
        weights = [w.copy() for w in model.get_weights()]
        history = model.fit(data["x"], data["y"], epochs=2, verbose=0,
                            callbacks=[keras_sbn.callbacks.Sharpen()])
        assert np.isfinite(history.history["loss"]).all()
        assert any((a != b).any() for a, b in zip(weights, model.get_weights()))
        keras_sbn.convert(model)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    there = (tmp_path / "there.tflite").read_bytes()
    assert there == (tmp_path / "here.tflite").read_bytes()
