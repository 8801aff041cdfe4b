import os
import re
from dataclasses import replace

import keras
import numpy as np
import pytest
from conftest import crashing, digit_network, images, randomize

import keras_sbn


@pytest.fixture
def converted(rng):
    model = digit_network()
    randomize(model, rng)
    keras_sbn.binarize(model)
    return keras_sbn.convert(model), model


def test_is_true_where_nothing_differs(converted, rng):
    result = keras_sbn.verify(*converted, images(rng, (7, 6, 2)))
    assert result
    assert (result.samples, result.differing_decisions, result.first_difference) == (64, 0, None)
    assert str(result).startswith("64 samples: 0 decisions differ")


def test_says_where_the_first_difference_is(converted, rng):
    file, model = converted
    x = images(rng, (7, 6, 2))
    expected = model.predict(x, verbose=0)
    # The same network with its classes in another order decides otherwise on every sample.
    bias = model.get_layer("logits").beta
    bias.assign(keras.ops.convert_to_numpy(bias) + np.array([0.0, 0.0, 100.0], "float32"))
    result = keras_sbn.verify(file, model, x)
    wrong = np.flatnonzero(expected.argmax(-1) != 2)
    assert not result
    assert result.differing_decisions == len(wrong)
    assert result.first_difference.sample == wrong[0]
    assert f"first difference: sample {wrong[0]}, output 0" in str(result)
    assert 99 < result.largest_difference < 101


def test_a_damaged_file_does_not_pass(converted, rng):
    file, model = converted
    content = bytearray(file.content)
    kernel = keras_sbn.bits.pack(
        keras.ops.convert_to_numpy(keras_sbn.fold(model).get_layer("dense_2").kernel).transpose(
            3, 0, 1, 2
        )
    ).tobytes()
    at = content.index(kernel)
    for i in range(len(kernel)):
        content[at + i] ^= 0xFF if i % 8 < 4 else 0
    result = keras_sbn.verify(replace(file, content=bytes(content)), model, images(rng, (7, 6, 2)))
    assert not result
    assert result.first_differing_layer == "dense_2"
    assert "first layer that differs: dense_2" in str(result)


@pytest.mark.parametrize("target", ["lce", "tflite"])
@pytest.mark.parametrize("layer", ["conv_2", "dense_1"])
def test_names_the_first_layer_that_differs(layer, target, converted, rng):
    """The file of a network with other kernels in one layer, whose threshold is what the file writes."""
    _, model = converted
    x = images(rng, (7, 6, 2), 16)
    other = keras.models.clone_model(model)
    other.set_weights(model.get_weights())
    other.get_layer(layer).kernel.assign(-other.get_layer(layer).kernel)
    folded = keras_sbn.fold(model)
    names = [found.name for found in folded.layers]
    following = names[names.index(layer) + 1]
    result = keras_sbn.verify(keras_sbn.convert(other, target=target), model, x)
    assert not result
    assert result.first_differing_layer == following


def test_a_model_that_is_still_soft_differs_without_a_layer(converted, rng):
    file, model = converted
    soft = keras.models.clone_model(model)
    randomize(soft, rng)
    for weight in soft.weights:
        if weight.name.endswith("_sharpness"):
            weight.assign(1.0)
    result = keras_sbn.verify(file, soft, images(rng, (7, 6, 2)))
    assert not result
    assert result.first_differing_layer is None


def test_workers_and_batches_find_the_same(converted, rng, capsys):
    file, model = converted
    x = images(rng, (7, 6, 2))
    bias = model.get_layer("logits").beta
    bias.assign(keras.ops.convert_to_numpy(bias) + np.array([0.0, 0.0, 99.0], "float32"))
    whole = keras_sbn.verify(file, model, x)
    parts = keras_sbn.verify(file, model, x, batch_size=10, workers=2, progress=True)
    assert whole.differing_decisions == parts.differing_decisions > 0
    assert whole.first_difference.sample == parts.first_difference.sample
    assert whole.differing_outputs == parts.differing_outputs
    assert whole.to_dict()["first_difference"]["output"] == 0
    assert "verify 64/64 [##############################]" in capsys.readouterr().err
    stream = ((x[i : i + 7], None) for i in range(0, 64, 7))
    assert keras_sbn.verify(file, model, stream).differing_decisions == whole.differing_decisions


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"workers": -1}])
def test_numbers_that_are_not_positive(converted, wrong, rng):
    with pytest.raises(ValueError, match="to be positive"):
        keras_sbn.verify(*converted, images(rng, (7, 6, 2), 4), **wrong)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_required_agreement_that_is_no_share(share, converted, rng):
    with pytest.raises(
        ValueError, match=f"to be a share, from 0 to 1. Received: required_agreement={share}"
    ):
        keras_sbn.verify(*converted, images(rng, (7, 6, 2), 4), required_agreement=share)


def test_needs_samples(converted):
    with pytest.raises(ValueError, match="Expected `x` to have at least one batch"):
        keras_sbn.verify(*converted, np.zeros((0, 7, 6, 2), "float32"))
    with pytest.raises(ValueError, match="Expected at least one sample"):
        keras_sbn.verify(*converted, iter([np.zeros((0, 7, 6, 2), "float32")]))


def test_says_what_ran_the_file_and_runs_the_kernel_of_a_device(converted, rng):
    x = images(rng, (7, 6, 2), 8)
    for kernel in ("default", "indirect", "reference"):
        found = keras_sbn.verify(*converted, x, kernel=kernel, xnnpack=False)
        assert found
        assert found.runtime == f"LCE, {kernel} kernel"
        assert f"the file ran in LCE, {kernel} kernel" in str(found)
        assert found.to_dict()["runtime"] == found.runtime
    with pytest.raises(ValueError, match=r"Expected `kernel` to be one of .* Received: kernel='fast'"):
        keras_sbn.verify(*converted, x, kernel="fast")


def test_takes_a_path_and_bytes(converted, rng, tmp_path):
    file, model = converted
    x = images(rng, (7, 6, 2), 8)
    assert keras_sbn.verify(file.save(tmp_path / "model.tflite"), model, x)
    assert keras_sbn.verify(file.content, model, x)


def test_a_tuple_is_inputs_and_targets(converted, rng):
    x = images(rng, (7, 6, 2), 8)
    assert keras_sbn.verify(*converted, (x, np.zeros(8))).samples == 8


def test_a_short_line_in_a_console(converted, rng):
    found = keras_sbn.verify(*converted, images(rng, (7, 6, 2), 8))
    # PyTorch rounds the last affine map in another way.
    differ = found.differing_outputs if keras.backend.backend() == "torch" else 0
    figures = f"8 samples: 0 decisions and {differ} output values differ"
    assert repr(found) == f"<Verification of {figures}; {found.runtime}>"


def _two_branches():
    """Keys that are not the names of the inputs; outputs whose keys are not in alphabetical order."""
    given = {"zeta": keras.Input((4,), name="first"), "alpha": keras.Input((4,), name="second")}
    z = keras.layers.Dense(3, name="b")(given["zeta"])
    a = keras.layers.Dense(3, name="a")(given["alpha"])
    return given, z, a


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_dictionaries_and_nested_outputs(target, rng):
    given, z, a = _two_branches()
    x = {"zeta": rng.normal(size=(9, 4)).astype("float32"), "alpha": np.ones((9, 4), "float32")}
    by_input = {"first": x["zeta"], "second": x["alpha"], "unused": np.zeros(9)}
    for outputs in ({"z": z, "a": a}, {"a": z, "b": a}, [z, {"y": a, "x": z}], (a, [z])):
        model = keras.Model(given, outputs)
        converted = keras_sbn.convert(model, target)
        for form in (x, by_input, [x["alpha"], x["zeta"]], ([x["alpha"], x["zeta"]], None)):
            found = keras_sbn.verify(converted, model, form)
            assert found.samples == 9
            assert found.largest_difference < 1e-5
        assert keras_sbn.verify(
            converted, model, ({key: x[key][i : i + 3] for key in x} for i in (0, 3, 6))
        )
        with pytest.raises(ValueError, match=r"inputs named \['(zeta|alpha)', .*Received: \['zeta'\]"):
            keras_sbn.verify(converted, model, {"zeta": x["zeta"]})
    with pytest.raises(ValueError, match=r"Expected 2 inputs, as the model has\. Received: 1"):
        keras_sbn.verify(converted, model, x["zeta"])


def test_a_model_with_other_outputs_or_inputs(converted, rng):
    file, model = converted
    x = images(rng, (7, 6, 2), 4)
    wider = keras.Sequential([model, keras.layers.Dense(5)], name="wider")
    twice = keras.Model(model.input, [model.output, model.output], name="twice")
    for wrong in (wider, twice):
        message = (
            r"with the outputs of the file, '\w+' of shape \('samples', 3\)\. "
            rf"Received: '{wrong.name}' with outputs of shapes \('samples', "
        )
        with pytest.raises(ValueError, match=message):
            keras_sbn.verify(file, wrong, x)
    a, b = keras.Input((2,)), keras.Input((2,))
    two = keras.Model([a, b], keras.layers.Add()([a, b]), name="two")
    with pytest.raises(
        ValueError, match=r"with the inputs of the file, \['image'\]\. Received: 'two' with"
    ):
        keras_sbn.verify(file, two, x)


def _network_on_images():
    inputs = keras.Input((6, 6, 3), name="photo")
    x = keras_sbn.layers.SelfBinarizingConv2D(8, 3, name="conv")(inputs)
    x = keras_sbn.layers.BinaryBatchNormalization(name="norm")(x)
    x = keras_sbn.layers.SelfBinarizingActivation(name="sign")(x)
    x = keras_sbn.layers.SelfBinarizingDense(3, name="dense")(keras.layers.Flatten()(x))
    return keras.Model(inputs, keras_sbn.layers.BinaryBatchNormalization(name="logits")(x))


@pytest.mark.parametrize("target", ["lce", "tflite"])
@pytest.mark.parametrize("scaling", [(1 / 255, 0.0), (1 / 127.5, -1.0)])
def test_a_fold_with_input_scaling_and_the_model_before_it(target, scaling, rng):
    model = _network_on_images()
    randomize(model, rng)
    keras_sbn.binarize(model)
    file = keras_sbn.convert(keras_sbn.fold(model, input_scaling=scaling), target)
    photos = rng.integers(0, 256, (16, 6, 6, 3)).astype("uint8")
    floats = photos.astype("float32") * np.float32(scaling[0]) + np.float32(scaling[1])
    for x in (photos, floats, photos.astype("int64")):
        found = keras_sbn.verify(file, model, x, input_scaling=scaling)
        assert found.samples == 16
        assert found, str(found)
    with pytest.raises(ValueError, match=r"8-bit images, as `input_scaling` says\. Received: .* 'photo'"):
        keras_sbn.verify(file, model, floats + 0.001, input_scaling=scaling)
    with pytest.raises(ValueError, match=r"takes the 8-bit image\. .*give `verify` the same"):
        keras_sbn.verify(file, model, floats)
    # Without it no layer that is right is blamed.
    blind = keras_sbn.verify(file, model, photos)
    assert blind.first_differing_layer is None
    assert not blind
    assert "give `verify` the same `input_scaling`" in str(blind)
    # And with it the wrong one is.
    model.get_layer("dense").kernel.assign(-model.get_layer("dense").kernel)
    wrong = keras_sbn.verify(file, model, photos, input_scaling=scaling)
    assert wrong.first_differing_layer == "dense"
    assert wrong.notes == ()


def test_input_scaling_of_a_file_that_takes_floats(converted, rng):
    with pytest.raises(ValueError, match=r"for a file that takes 8-bit images.*'image' is float32"):
        keras_sbn.verify(*converted, images(rng, (7, 6, 2), 4), input_scaling=(1 / 255, 0))
    with pytest.raises(ValueError, match="to be \\(scale, offset\\), finite"):
        keras_sbn.verify(*converted, images(rng, (7, 6, 2), 4), input_scaling=(0, 0))


def test_a_model_of_mixed_precision_says_why_values_differ(rng):
    def build(policy):
        inputs = keras.Input((40,))
        x = keras.layers.Dense(64, dtype=policy, name="float_dense")(inputs)
        return keras.Model(inputs, keras.layers.Dense(5, dtype=policy)(x))

    mixed, whole = build("mixed_float16"), build("float32")
    whole.set_weights(mixed.get_weights())
    x = rng.normal(size=(32, 40)).astype("float32")
    file = keras_sbn.convert(mixed, "tflite")
    found = keras_sbn.verify(file, mixed, x, required_agreement=0.5)
    assert found.differing_outputs
    assert "note: the model computes in float16 and the file in float32" in str(found)
    same = keras_sbn.verify(file, whole, x)
    assert same
    assert same.notes == ()


def test_outputs_in_int8_that_are_equal_after_rounding():
    """Outputs 1 and 1.1 are one step of 0.8, and the first of equal ones is the class."""
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(3, use_bias=False)(inputs))
    model.layers[-1].kernel.assign([[1.0, 1.1, 0.0], [0.0, 0.0, 100.0]])
    wide = np.array([[0.0, 1.0], [0.0, -1.0]], "float32")
    file = keras_sbn.convert(
        model, "tflite", activations="int8", representative_data=wide, output_type="int8"
    )
    found = keras_sbn.verify(file, model, np.array([[1.0, 0.0], [0.0, 1.0]], "float32"))
    assert found.differing_decisions == 1
    assert re.search(r"on 1 of the 1 differing samples .* in steps of up to 0\.78", str(found))


@pytest.mark.parametrize("target", ["lce", "tflite"])
def test_nan_is_refused_and_the_input_named(target, converted, rng):
    _, model = converted
    file = keras_sbn.convert(model, target)
    x = images(rng, (7, 6, 2), 4)
    x[2, 0, 0, 0] = np.nan
    for run in (file.predict, lambda x: keras_sbn.verify(file, model, x)):
        with pytest.raises(ValueError, match="NaN in input 'image', first in sample 2"):
            run(x)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_file_that_is_not_trusted_runs_in_a_process_of_its_own(converted, rng):
    file, model = converted
    x = images(rng, (7, 6, 2), 4)
    assert keras_sbn.verify(file, model, x, isolated=True)
    bad = crashing(file.content)
    for call in (
        # The one-bit kernels see the damage in time.
        lambda: keras_sbn.verify(bad, model, x, isolated=True, runtime="lce"),
        lambda: keras_sbn.verify(bad, model, x, workers=2, runtime="lce"),
        lambda: keras_sbn.ConvertedModel.load(bad).predict(x, isolated=True, runtime="lce"),
    ):
        with pytest.raises(RuntimeError, match=r"ended by signal SIGSEGV"):
            call()
