"""What Keras trains on, on every backend."""

import warnings

import keras
import numpy as np

from keras_sbn import data


def test_fit_sees_the_same_batches_with_any_number_of_threads_and_resumed():
    """Some backends look at a batch before training, so Keras does not count the epochs."""
    dataset = data.load("digits").take(train=64, validation=32)

    def train(threads, epochs, first_epoch=0, weights=None):
        model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
        model.set_weights(weights or [np.zeros((64, 10)), np.zeros(10)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.5), loss)
        with warnings.catch_warnings():
            # JAX's of int64 among them, which other tests let pass.
            warnings.simplefilter("error")
            # As in pyproject.toml: another process of the tests may be writing there.
            warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
            model.fit(
                dataset.batches("train", 16, threads=threads, first_epoch=first_epoch),
                validation_data=dataset.batches("validation", 16),
                initial_epoch=first_epoch,
                epochs=epochs,
                shuffle=False,
                verbose=0,
            )
        return model.get_weights()

    expected = train(0, 3)
    for received in (train(2, 3), train(2, 3, first_epoch=1, weights=train(2, 1))):
        np.testing.assert_allclose(received[0], expected[0], atol=1e-6)
    other = train(0, 3, first_epoch=1, weights=train(0, 2))
    assert np.abs(other[0] - expected[0]).max() > 1e-3
