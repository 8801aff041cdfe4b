"""Networks of keras.applications become binary, and their files equal them."""

import keras
import pytest
from float_models import assert_files_equal

import keras_sbn

A = keras.applications
#: Narrow ones, on small images: depthwise layers, inverted residuals, gates.
NETWORKS = {
    "MobileNet": lambda **options: A.MobileNet(alpha=0.25, **options),
    "MobileNetV2": lambda **options: A.MobileNetV2(alpha=0.35, **options),
    "MobileNetV3Small": lambda **options: A.MobileNetV3Small(alpha=0.35, minimalistic=False, **options),
}


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_of_keras_becomes_binary_and_equals_its_files(name, rng):
    keras.utils.set_random_seed(0)
    options = {"input_shape": (32, 32, 3), "classes": 10, "weights": None, "classifier_activation": None}
    binary = keras_sbn.binary_model(NETWORKS[name](**options)).model
    keras_sbn.binarize(binary)
    # Statistics of trained networks: without them most signs would never change.
    x = rng.integers(-16, 17, (64, 32, 32, 3)).astype("float32") / 8
    keras_sbn.reestimate_batch_normalization(binary, x, batch_size=32)
    counts = keras_sbn.summary(binary)
    assert counts.binary_macs > counts.float_macs
    assert_files_equal(binary, rng)
