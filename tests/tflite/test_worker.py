import keras
import numpy as np
import pytest

import keras_sbn
from keras_sbn.tflite.worker import Worker


@pytest.fixture
def converted(rng):
    model = keras.Sequential(
        [keras.Input((32,)), keras_sbn.layers.SelfBinarizingDense(4, binarize_input=True)]
    )
    keras_sbn.binarize(model)
    return keras_sbn.convert(model)


def test_runs_the_file_in_a_process_without_keras(converted, rng):
    x = rng.normal(size=(6, 32)).astype("float32")
    with Worker(converted.content, "lce") as worker:
        for part in (x[:4], x[4:]):
            worker.submit([part])
            np.testing.assert_array_equal(worker.result()[0], converted.predict(part))


def test_a_batch_that_does_not_fit_is_an_error_here_and_the_next_one_runs(converted):
    with Worker(converted.content, "lce") as worker:
        worker.submit([np.zeros((2, 5), "float32")])
        with pytest.raises(ValueError, match="Expected inputs of shapes"):
            worker.result()
        worker.submit([np.ones((2, 32), "float32")])
        assert worker.result()[0].shape == (2, 4)


def test_a_process_that_fails_says_why():
    with Worker(b"no model", "lce") as worker:
        worker._process.wait()
        with pytest.raises(RuntimeError, match=r"(?s)to answer\. Received: exit code .*said.*Error"):
            worker.submit([np.ones((2, 32), "float32")])
