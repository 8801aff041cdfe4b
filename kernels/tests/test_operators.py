"""Each operator on random shapes: NumPy's integers, with every instruction set and several threads."""

import numpy as np
import pytest
from files import SAME, VALID, Conv, File, add_options, mul_options, pack, random_conv
from running import USABLE, run

from keras_sbn_kernels import KernelsError, Model
from keras_sbn_kernels.library import Plan


def run_conv(conv, **how):
    expected = conv.expected()
    return expected, run(
        conv.content(), [pack(conv.x)], [(expected.shape, expected.dtype)], conv.batch, **how
    )[0]


@pytest.mark.parametrize("instructions", USABLE)
@pytest.mark.parametrize("seed", range(8))
def test_random_convolutions(seed, instructions):
    rng = np.random.default_rng(seed)
    for _ in range(12):
        conv = random_conv(rng)
        expected, received = run_conv(conv, instructions=instructions)
        np.testing.assert_array_equal(received, expected, err_msg=str(conv))


@pytest.mark.parametrize("instructions", USABLE)
@pytest.mark.parametrize("filters", [1, 31, 32, 33, 64, 96])
@pytest.mark.parametrize("width", [1, 7, 8, 9, 33])
def test_pixels_and_filters_around_a_tile(width, filters, instructions):
    conv = Conv(height=1, width=width, channels=96, filters=filters, window=(1, 1), padding=VALID)
    expected, received = run_conv(conv, instructions=instructions)
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("instructions", USABLE)
@pytest.mark.parametrize(("words", "window"), [(40, (3, 3)), (4099, (1, 1))])
def test_more_words_than_narrow_sums_count(words, window, instructions):
    # AVX2 and WebAssembly add bytes for 31 words, NEON 16-bit sums for 4094; all products are -1 here,
    # the most that these gain.
    conv = Conv(height=3, width=3, channels=32 * words, filters=40, window=window, output="float32")
    conv.x[:], conv.kernel[:] = 1, -1
    expected, received = run_conv(conv, instructions=instructions)
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("num_threads", [2, 3, 8])
def test_threads_change_nothing(num_threads):
    rng = np.random.default_rng(7)
    for _ in range(20):
        conv = random_conv(rng)
        expected, received = run_conv(conv, num_threads=num_threads)
        np.testing.assert_array_equal(received, expected, err_msg=str(conv))


def test_a_border_of_zeros_is_exact_where_the_window_covers_the_map():
    # LCE does not correct both sides of one window.
    conv = Conv(height=2, width=2, window=(5, 5), pad_value=0, output="float32")
    expected, received = run_conv(conv)
    np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize("instructions", USABLE)
@pytest.mark.parametrize("dtype", ["float32", "int8", "bool"])
@pytest.mark.parametrize("channels", [1, 31, 32, 64, 100])
def test_quantize(channels, dtype, instructions):
    rng = np.random.default_rng(channels)
    shape = (2, 3, 5, channels)
    for zero in (-129, -128, 0, 5, 127, 128) if dtype == "int8" else (0,):
        values = rng.integers(-128, 128, shape)
        if dtype == "float32":
            x = rng.normal(0, 1, shape).astype(np.float32)
            x[..., 0] = rng.choice([0.0, -0.0, np.inf, -np.inf, np.nan, -1e-45], shape[:-1])
            negative = x < 0
        elif dtype == "int8":
            x = values.astype(np.int8)
            negative = values < zero
        else:
            x = values > 0
            negative = ~x
        expected = pack(np.where(negative, -1, 1))
        file = File()
        i = file.tensor(shape, dtype, (0.5, zero) if dtype == "int8" else None)
        o = file.tensor(expected.shape, "int32")
        file.operator("LceQuantize", [i], [o])
        out = [(expected.shape, np.int32)]
        (received,) = run(file.write([i], [o]), [x], out, 2, instructions, num_threads=2)
        np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize(
    ("dtype", "scale", "ones"),
    [
        ("float32", None, (1.0, -1.0)),
        ("bool", None, (True, False)),
        ("int8", (1.0, 0), (1, -1)),
        ("int8", (0.25, 3), (7, -1)),
        ("int8", (0.004, 100), (127, -128)),
    ],
)
def test_dequantize(dtype, scale, ones):
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], (2, 3, 4, 45))
    file = File()
    i, o = file.tensor(pack(signs).shape, "int32"), file.tensor(signs.shape, dtype, scale)
    file.operator("LceDequantize", [i], [o])
    (received,) = run(file.write([i], [o]), [pack(signs)], [(signs.shape, dtype)], 2)
    np.testing.assert_array_equal(received, np.where(signs > 0, *np.array(ones, dtype)))


@pytest.mark.parametrize("padding", [SAME, VALID])
@pytest.mark.parametrize("seed", range(10))
def test_pool(seed, padding):
    rng = np.random.default_rng(seed)
    height, width, channels = rng.integers(3, 12), rng.integers(3, 12), rng.integers(1, 100)
    window, strides = rng.integers(1, 4, 2), rng.integers(1, 4, 2)
    signs = rng.choice([-1, -1, -1, 1], (2, height, width, channels))
    conv = Conv(2, height, width, window=tuple(window), strides=tuple(strides), padding=padding)
    (rows, over_y), (columns, over_x) = conv.out(height, 0), conv.out(width, 1)
    border = ((0, 0), (over_y // 2, window[0]), (over_x // 2, window[1]), (0, 0))
    padded = np.pad(signs, border, constant_values=-1)
    taps = [
        padded[:, y:, x:][:, :: strides[0], :: strides[1]][:, :rows, :columns]
        for y in range(window[0])
        for x in range(window[1])
    ]
    expected = pack(np.max(taps, axis=0))
    file = File()
    i, o = file.tensor(pack(signs).shape, "int32"), file.tensor(expected.shape, "int32")
    options = {"filter_height": window[0], "filter_width": window[1], "padding": padding}
    options |= {"stride_height": strides[0], "stride_width": strides[1]}
    file.operator("LceBMaxPool2d", [i], [o], {key: int(value) for key, value in options.items()})
    (received,) = run(file.write([i], [o]), [pack(signs)], [(expected.shape, np.int32)], 2)
    np.testing.assert_array_equal(received, expected)


def residual_file(conv, scale, shift, relu, as_int8=False, also_float=True):
    """Convolution, batch normalization, a residual, and the packing of the sum."""
    file = File()
    shape = (conv.batch, conv.height, conv.width, conv.filters)
    x = file.tensor(pack(conv.x).shape, "int32")
    residual = file.tensor(shape, "float32")
    conv.multiplier[:], conv.bias[:] = 1, 0
    if as_int8:
        # The converter stores long vectors of ones as int8.
        ones = file.tensor((conv.filters,), "int8", (1.0, 0), np.ones(conv.filters, np.int8))
        floats = file.tensor((conv.filters,), "float32")
        file.operator(6, [ones], [floats])
    y = conv.add_to(file, x)
    if as_int8:
        file.operators[-1].inputs[2] = floats
    product, total, result = (file.tensor(shape, "float32") for _ in range(3))
    file.operator(18, [y, file.constant(scale)], [product], None, mul_options())
    file.operator(0, [product, file.constant(shift)], [total], None, add_options())
    file.operator(0, [residual, total], [result], None, add_options(int(relu)))
    packed = file.tensor((*shape[:-1], -(-conv.filters // 32)), "int32")
    file.operator("LceQuantize", [result], [packed])
    return file.write([x, residual], [result, packed] if also_float else [packed])


@pytest.mark.parametrize("instructions", USABLE)
@pytest.mark.parametrize("as_int8", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("also_float", [False, True])
def test_what_follows_a_convolution_is_fused_and_rounded_as_before(
    also_float, relu, as_int8, instructions
):
    rng = np.random.default_rng(int(relu))
    conv = Conv(height=6, width=7, channels=64, filters=45, output="float32", pad_value=0)
    scale, shift = rng.normal(0, 1, (2, 45)).astype(np.float32)
    residual = rng.normal(0, 30, (1, 6, 7, 45)).astype(np.float32)
    content = residual_file(conv, scale, shift, relu, as_int8, also_float)
    expected = conv.sums().astype(np.float32) * scale + shift + residual
    expected = np.maximum(expected, 0) if relu else expected
    bits = pack(np.where(expected < 0, -1, 1))
    outs = [(expected.shape, np.float32)] * also_float + [(bits.shape, np.int32)]
    received = run(content, [pack(conv.x), residual], outs, 1, instructions)
    np.testing.assert_array_equal(received[-1], bits)
    np.testing.assert_array_equal(received[0], expected if also_float else bits)
    # LiteRT runs what is left of the file.
    model = Model(content, instructions=instructions)
    np.testing.assert_array_equal(model.run([pack(conv.x), residual])[-1], bits)
    assert len(model.profile()) == 1


def test_a_result_that_others_read_is_not_fused_away():
    conv = Conv(height=2, width=2, output="float32")
    conv.multiplier[:], conv.bias[:] = 1, 0
    file = File()
    x = file.tensor(pack(conv.x).shape, "int32")
    y = conv.add_to(file, x)
    scale = np.arange(32, dtype=np.float32)
    product = file.tensor((1, 2, 2, 32), "float32")
    file.operator(18, [y, file.constant(scale)], [product], None, mul_options())
    sums = conv.sums().astype(np.float32)
    received = Model(file.write([x], [y, product])).run([pack(conv.x)])
    np.testing.assert_array_equal(received[0], sums)
    np.testing.assert_array_equal(received[1], sums * scale)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride_height": 0}, "stride 0"),
        ({"stride_width": -1}, "stride -1"),
        ({"dilation_width_factor": 0}, "dilation 0"),
        ({"padding": 2}, "padding SAME or VALID"),
        ({"pad_values": 2}, "pad_values 0 or 1"),
        ({"channels_in": 33}, "2 words for 33 channels"),
        ({"channels_in": 0}, "channels"),
        ({"fused_activation_function": 4}, "RELU6"),
        ({"stride_height": 2}, "expected an output of 3 x 5"),
    ],
)
def test_wrong_options_are_refused(changes, message):
    with pytest.raises(KernelsError, match=message):
        Plan(Conv(output="float32").content(**changes))


def test_a_missing_option_is_refused():
    conv = Conv()
    options = conv.options()
    del options["pad_values"]
    conv.options = lambda: options
    with pytest.raises(KernelsError, match="pad_values"):
        Plan(conv.content())


def test_a_filter_that_is_too_short_is_refused():
    conv = Conv()
    file = File()
    x = file.tensor(pack(conv.x).shape, "int32")
    y = conv.add_to(file, x)
    buffer = file.buffers[file.tensors[file.operators[0].inputs[1]].buffer]
    buffer.data = buffer.data[:-4]
    with pytest.raises(KernelsError, match=r"constant filter of 1152 bytes. Received: 1148"):
        Plan(file.write([x], [y]))


def test_buffers_that_are_too_small_are_refused():
    conv = Conv()
    with pytest.raises(KernelsError, match=r"expected 100 bytes of output 0. Received: 96"):
        run(conv.content(), [pack(conv.x)], [((24,), np.int32)], 1)
