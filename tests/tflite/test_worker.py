import os

import keras
import numpy as np
import pytest
from conftest import crashing, digit_network, images

import keras_sbn
from keras_sbn.tflite.worker import Worker


@pytest.fixture
def converted():
    model = keras.Sequential(
        [keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4, binarize_input=True)]
    )
    keras_sbn.binarize(model)
    return keras_sbn.convert(model)


def test_runs_the_file_in_a_process_without_keras(converted, rng):
    x = rng.normal(size=(6, 32)).astype("float32")
    with Worker(converted.content, converted.target) as worker:
        for part in (x[:4], x[4:]):
            worker.submit([part])
            np.testing.assert_array_equal(worker.result()[0], converted.predict(part))
        assert worker.runtime == converted.runtime
        assert worker.time() > 0


def test_a_batch_that_does_not_fit_is_an_error_here_and_the_next_one_runs(converted):
    with Worker(converted.content, converted.target) as worker:
        worker.submit([np.zeros((2, 5), "float32")])
        with pytest.raises(ValueError, match="Expected inputs of shapes"):
            worker.result()
        worker.submit([np.ones((2, 32), "float32")])
        assert worker.result()[0].shape == (2, 4)


def test_runs_the_kernel_that_was_asked_for(converted, rng):
    x = rng.normal(size=(3, 32)).astype("float32")
    with Worker(converted.content, converted.target, kernel="reference", xnnpack=False) as worker:
        np.testing.assert_array_equal(worker.predict([x])[0], converted.predict(x))
        assert worker.runtime == "LCE, reference kernel"


def test_a_file_that_is_none_is_an_error_in_words():
    with (
        Worker(b"no model", "lce") as worker,
        pytest.raises(RuntimeError, match=r"Expected a (file that LCE.* runs|\.tflite file)"),
    ):
        worker.predict([np.ones((2, 32), "float32")])


def test_an_engine_that_cannot_be_had_is_the_reason_whenever_the_batch_comes(converted):
    """The process may have ended before the first batch is sent to it."""
    with Worker(converted.content, converted.target, kernel="none") as worker:
        worker._process._process.wait(60)
        with pytest.raises(ValueError, match="Expected `kernel` to be one of"):
            worker.submit([np.zeros((2, 32), "float32")])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_a_file_that_ends_its_process_is_an_error_here(target, rng):
    model = digit_network()
    keras_sbn.binarize(model)
    content = crashing(keras_sbn.convert(model, target).content)
    ended = pytest.raises(
        RuntimeError,
        # LiteRT sees it in time, and says which layer it is.
        match=r"to run bad\.tflite\. Received: it was ended by signal SIG|Expected a file that LiteRT",
    )
    with Worker(content, target, name="bad.tflite") as worker, ended:
        worker.predict([images(rng, (7, 6, 2), 1)])
