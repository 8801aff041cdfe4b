"""Files in LiteRT, and what is refused."""

import contextlib
import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from files import Conv, File, add_options, pack
from running import USABLE

from keras_sbn_kernels import KernelsError, Model, instruction_sets, litert
from keras_sbn_kernels.library import VARIABLE, LiteRtFunctions, Plan


def chain():
    """Floats to bits, two convolutions, and floats."""
    first = Conv(height=9, width=9, channels=40, filters=70, seed=1)
    second = Conv(height=9, width=9, channels=70, filters=10, output="float32", seed=2)
    file = File()
    x = file.tensor((1, 9, 9, 40), "float32")
    bits = file.tensor((1, 9, 9, 2), "int32")
    file.operator("LceQuantize", [x], [bits])
    y = second.add_to(file, first.add_to(file, bits))
    return first, second, file.write([x], [y])


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("instructions", USABLE)
def test_a_file_in_litert(instructions, num_threads):
    first, second, content = chain()
    bits = np.unpackbits(first.expected().view(np.uint8), axis=-1, bitorder="little")[..., :70]
    second.x = 1 - 2 * bits.astype(int)
    model = Model(content, num_threads, instructions)
    for _ in range(3):
        (received,) = model.run([first.x.astype(np.float32)])
        np.testing.assert_array_equal(received, second.expected())
    assert model.instructions == instructions
    assert [text.split()[0] for text, _ in model.profile()] == ["LceQuantize", "LceBconv2d", "LceBconv2d"]
    model.close()


def test_a_path_and_many_models_at_once(tmp_path):
    first, _, content = chain()
    (tmp_path / "model.tflite").write_bytes(content)
    models = [Model(tmp_path / "model.tflite") for _ in range(5)]
    outputs = [model.run([first.x.astype(np.float32)])[0] for model in models]
    assert all(np.array_equal(outputs[0], output) for output in outputs)


def test_the_nodes_outlive_what_litert_made_of_a_model_in_a_cycle():
    model = Model(chain()[2])
    plan, objects, close = model._plan, model._objects, model._plan.close
    assert objects
    left = []
    plan.close = lambda: (left.append(len(objects)), close())
    cycle = [model, vars(model)]
    cycle.append(cycle)
    del model, cycle
    gc.collect()
    assert left == [0]
    assert plan.handle is None


def test_calls_from_several_threads_do_not_mix():
    first, _, content = chain()
    model = Model(content)
    inputs = [np.roll(first.x, shift, 1).astype(np.float32) for shift in range(9)] * 4
    expected = [model.run([x])[0] for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        received = list(pool.map(lambda x: model.run([x])[0], inputs))
    np.testing.assert_array_equal(received, expected)


def test_the_environment_variable_names_the_instruction_set(monkeypatch):
    monkeypatch.setenv(VARIABLE, "portable")
    assert Plan(Conv().content()).instructions == "portable"
    monkeypatch.setenv(VARIABLE, "mmx")
    with pytest.raises(KernelsError, match=r"Received: mmx. This processor runs .*portable"):
        Plan(Conv().content())


def test_the_fastest_instruction_set_is_the_default(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Plan(Conv().content()).instructions == USABLE[0]
    assert instruction_sets()["portable"]


def test_inputs_of_another_shape_or_type_are_refused():
    model = Model(chain()[2])
    with pytest.raises(ValueError, match=r"shape \(1, 9, 9, 40\) and type float32"):
        model.run([np.zeros((1, 9, 9, 41), np.float32)])
    with pytest.raises(ValueError, match="type float64"):
        model.run([np.zeros((1, 9, 9, 40))])
    with pytest.raises(ValueError, match="1 inputs"):
        model.run([])


def test_what_is_no_model_is_refused(tmp_path):
    for content in (b"", b"TFL3", b"not a model at all", bytes(1000)):
        with pytest.raises(KernelsError, match=r"damaged.*Convert the model again"):
            Model(content)
    with pytest.raises(OSError, match="missing"):
        Model(tmp_path / "missing.tflite")


def test_every_truncation_is_refused_or_harmless():
    content = chain()[2]
    refused = 0
    for size in range(0, len(content), 7):
        try:
            Plan(content[:size])
        except KernelsError:
            refused += 1
    assert refused > 0.9 * len(range(0, len(content), 7))


def test_random_damage_is_refused_or_harmless():
    content = bytearray(chain()[2])
    rng = np.random.default_rng(0)
    for _ in range(3000):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] = rng.choice([0, 1, 4, 127, 128, 255, rng.integers(256)])
        with contextlib.suppress(KernelsError):
            Plan(bytes(damaged))


def test_wrong_numbers_of_threads_are_refused():
    for count in (0, -1, 257):
        with pytest.raises(KernelsError, match=f"1 to 256 threads. Received: {count}"):
            Plan(Conv().content(), count)


def test_an_old_runtime_is_refused(tmp_path):
    found = litert.runtime()
    with pytest.raises(
        KernelsError, match=r"LiteRT 2.1 or later.*Received: 1.4.0; pip install --upgrade"
    ):
        litert.Runtime(found.lib._name, (1, 4, 0))
    (tmp_path / "libLiteRt.so").write_bytes(b"no library")
    with pytest.raises(KernelsError, match="Expected LiteRT's library to load"):
        litert.Runtime(tmp_path / "libLiteRt.so", (2, 3, 0))


def test_functions_are_litert_s():
    functions = litert.runtime().functions()
    assert all(getattr(functions, name) for name, _ in LiteRtFunctions._fields_)


def test_a_model_without_one_bit_operators_runs():
    file = File()
    x, y = file.tensor((1, 4), "float32"), file.tensor((1, 4), "float32")
    file.operator(19, [x], [y])  # RELU
    x = np.array([[-1, 2, -3, 4]], np.float32)
    np.testing.assert_array_equal(Model(file.write([0], [1])).run([x])[0], np.maximum(x, 0))


def test_a_batch_that_is_left_open_is_one():
    file = File()
    x, y = file.tensor((1, 4), "float32"), file.tensor((1, 4), "float32")
    for index in (x, y):
        file.tensors[index].shapeSignature = [-1, 4]
    file.operator(19, [x], [y])  # RELU
    model = Model(file.write([x], [y]))
    assert model.inputs[0].shape == model.outputs[0].shape == (1, 4)
    np.testing.assert_array_equal(model.run([np.ones((1, 4), np.float32)])[0], np.ones((1, 4)))


def test_two_inputs_in_the_order_of_the_file():
    conv = Conv(height=2, width=2, output="float32")
    file = File()
    other, x = file.tensor((1, 3), "float32"), file.tensor(pack(conv.x).shape, "int32")
    y, z = conv.add_to(file, x), file.tensor((1, 3), "float32")
    file.operator(19, [other], [z])
    model = Model(file.write([x, other], [y, z]))
    assert [port.shape for port in model.inputs] == [(1, 2, 2, 1), (1, 3)]
    received = model.run([pack(conv.x), np.ones((1, 3), np.float32)])
    np.testing.assert_array_equal(received[0], conv.expected())


def test_a_tensor_that_is_several_outputs_or_an_input_too_has_its_values_everywhere():
    file = File()
    x, y, z = (file.tensor((1, 4), "float32") for _ in range(3))
    constant = file.constant(np.full((1, 4), 7, np.float32))
    file.operator(0, [x, x], [y], None, add_options())
    file.operator(0, [x, constant], [z], None, add_options())
    for outputs in ([y, y], [x, y], [y, x], [z, y, z, x], [x], [constant, z]):
        model = Model(file.write([x], outputs))
        for value in (np.arange(4, dtype=np.float32)[None], np.ones((1, 4), np.float32)):
            expected = {x: value, y: 2 * value, z: value + 7, constant: value * 0 + 7}
            for output, received in zip(outputs, model.run([value]), strict=True):
                np.testing.assert_array_equal(received, expected[output])
