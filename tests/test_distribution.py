"""Two devices train like one. Each test has a process of its own: devices are process-wide."""

import keras
import numpy as np
import pytest
import small_models

MIRRORED = """
import json
import tensorflow as tf

cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)

import keras, keras_sbn, small_models
from keras_sbn.callbacks import HardValidation, Monitor, Sharpen

x, y = small_models.data()

def train(strategy):
    with strategy.scope():
        network = small_models.model(learning_rate=3e-3, batch_normalization=BATCH_NORMALIZATION)
        network.get_layer("dropout").rate = 0.0
    sharpen = Sharpen(keras_sbn.schedules.Exponential(1, 10, hard=False), binarize=False)
    with strategy.scope():
        history = network.fit(
            x, y, batch_size=8, epochs=3, shuffle=False, verbose=0,
            callbacks=[HardValidation((x, y)), Monitor(x), sharpen],
        ).history
        soft = [w for layer in network.layers for w in getattr(layer, "sharpness_weights", [])]
        replicas = [
            [float(value) for value in strategy.experimental_local_results(weight.value)]
            for weight in soft
        ]
        outputs = network.predict(x, verbose=0).tolist()
        keras_sbn.binarize(network)
        keras_sbn.reestimate_batch_normalization(network, x)
        hard = network.predict(x, verbose=0).tolist()
    return {"history": history, "replicas": replicas, "outputs": outputs, "hard": hard}

def synchronized(**options):
    return keras_sbn.layers.BinaryBatchNormalization(synchronized=True, **options)

BATCH_NORMALIZATION = synchronized
one = train(tf.distribute.get_strategy())
two = train(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
print(json.dumps([one, two]))
"""

DATA_PARALLEL = """
import json
import jax, keras, keras_sbn, small_models
from keras_sbn.callbacks import HardValidation, Monitor, Sharpen

assert len(jax.devices()) == 2
x, y = small_models.data()

def train():
    network = small_models.model(learning_rate=3e-3)
    network.get_layer("dropout").rate = 0.0
    sharpen = Sharpen(keras_sbn.schedules.Exponential(1, 10, hard=False), binarize=False)
    history = network.fit(
        x, y, batch_size=8, epochs=3, shuffle=False, verbose=0,
        callbacks=[HardValidation((x, y)), Monitor(x), sharpen],
    ).history
    replicas = [
        [float(shard.data) for shard in weight.value.addressable_shards]
        for layer in network.layers
        for weight in getattr(layer, "sharpness_weights", [])
    ]
    outputs = network.predict(x, verbose=0).tolist()
    keras_sbn.binarize(network)
    keras_sbn.reestimate_batch_normalization(network, x)
    hard = network.predict(x, verbose=0).tolist()
    return {"history": history, "replicas": replicas, "outputs": outputs, "hard": hard}

one = train()
keras.distribution.set_distribution(keras.distribution.DataParallel(devices=jax.devices()))
two = train()
print(json.dumps([one, two]))
"""


def check(one, two):
    assert [len(values) for values in one["replicas"]] == [1] * 5
    assert two["replicas"] == [values * 2 for values in one["replicas"]]
    assert two["replicas"][0][0] == pytest.approx(10)
    assert set(one["history"]) == set(two["history"])
    for name in ("loss", "val_hard_loss", "sharpness", "saturated_weights", "saturated_activations"):
        np.testing.assert_allclose(two["history"][name], one["history"][name], rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(two["outputs"], one["outputs"], atol=1e-3)
    np.testing.assert_allclose(two["hard"], one["hard"], atol=1e-3)


def test_mirrored_strategy_of_two_devices():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.distribute needs the TensorFlow backend")
    if keras.__version__.startswith("3.4."):
        pytest.skip("synchronized batch normalization of Keras 3.4 fails under tf.distribute")
    one, two = small_models.run_child(MIRRORED, KERAS_BACKEND="tensorflow")
    check(one, two)


def test_data_parallel_of_two_devices_under_jax():
    if keras.backend.backend() != "jax":
        pytest.skip("keras.distribution needs the JAX backend")
    flags = "--xla_force_host_platform_device_count=2"
    one, two = small_models.run_child(DATA_PARALLEL, KERAS_BACKEND="jax", XLA_FLAGS=flags)
    check(one, two)
