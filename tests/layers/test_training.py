"""Compiled training and saving of a model made of these layers."""

import keras
import numpy as np
import pytest
from layer_cases import numpy_of

from keras_sbn import layers
from keras_sbn.binarize import set_sharpness
from keras_sbn.sharpness import HARD


def network():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.SelfBinarizingConv2D(8, 3, padding="same"),
            layers.BinaryBatchNormalization(),
            layers.SelfBinarizingActivation(),
            layers.SelfBinarizingSeparableConv2D(8, 3, padding="same", kernel_scale="mean"),
            layers.BinaryBatchNormalization(),
            layers.SelfBinarizingDepthwiseConv2D(3, 2, "same", binarize_input=True),
            keras.layers.Flatten(),
            layers.SelfBinarizingDense(4, binarize_input=True, kernel_scale="learned"),
        ]
    )


def batch():
    rng = np.random.default_rng(0)
    return rng.normal(size=(16, 8, 8, 3)).astype("float32"), rng.integers(0, 4, 16)


@pytest.mark.parametrize(
    ("jit_compile", "policy"),
    [("auto", "float32"), (True, "mixed_float16"), (True, "mixed_bfloat16")],
)
def test_fit_reduces_the_loss_and_sharpness_is_no_constant_of_the_trace(jit_compile, policy):
    if jit_compile and keras.backend.backend() == "torch":
        pytest.skip("torch.compile does not trace Keras's own compute_loss")
    keras.utils.set_random_seed(0)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy(before)
    x, y = batch()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, jit_compile=jit_compile)
    losses = model.fit(x, y, epochs=12, batch_size=16, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.7 * losses[0]
    soft = model.predict(x, verbose=0)
    set_sharpness(model, HARD)
    assert not np.array_equal(model.predict(x, verbose=0), soft)
    assert np.isfinite(model.train_on_batch(x, y))
    assert all(np.isfinite(numpy_of(weight)).all() for weight in model.trainable_weights)


def test_saved_network_predicts_the_same(tmp_path):
    model = network()
    set_sharpness(model, HARD)
    x, _ = batch()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))
    assert all(layer.is_hard for layer in again.layers if hasattr(layer, "is_hard"))
