"""The device's preprocessing, in Python, against a plain reading of its definition."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sbn.deployment import fit_image
from keras_sbn.deployment.preprocessing import input_values

SIZES = st.integers(1, 9)


def as_defined(image, height, width):
    """Fractions of pixels, one pixel of the result after another."""
    rows, columns = image.shape[:2]
    if Fraction(columns, rows) > Fraction(width, height):
        cut_rows, cut_columns = rows, max(int(Fraction(rows * width, height)), 1)
    else:
        cut_rows, cut_columns = max(int(Fraction(columns * height, width)), 1), columns
    top, left = (rows - cut_rows) // 2, (columns - cut_columns) // 2
    result = np.zeros((height, width, image.shape[-1]), "uint8")
    for i, j, channel in np.ndindex(result.shape):
        value = Fraction(0)
        for r, c in np.ndindex(cut_rows, cut_columns):
            share = covered(r, i, cut_rows, height) * covered(c, j, cut_columns, width)
            value += share * int(image[top + r, left + c, channel])
        area = Fraction(cut_rows, height) * Fraction(cut_columns, width)
        result[i, j, channel] = int(value / area + Fraction(1, 2))
    return result


def covered(source, target, source_size, target_size):
    step = Fraction(source_size, target_size)
    return max(min(source + 1, (target + 1) * step) - max(source, target * step), Fraction(0))


@settings(max_examples=40, deadline=None)
@given(SIZES, SIZES, st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_equals_its_definition(rows, columns, height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype="uint8")
    np.testing.assert_array_equal(fit_image(image, height, width), as_defined(image, height, width))


@given(SIZES, SIZES, st.integers(0, 99))
def test_an_image_of_the_right_size_is_unchanged(rows, columns, seed):
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype="uint8")
    np.testing.assert_array_equal(fit_image(image, rows, columns), image)


def test_the_middle_is_cut_out():
    image = np.zeros((4, 10, 3), "uint8")
    image[:, 3:7] = 200
    np.testing.assert_array_equal(fit_image(image, 2, 2), np.full((2, 2, 3), 200))
    np.testing.assert_array_equal(fit_image(image.transpose(1, 0, 2), 2, 2), np.full((2, 2, 3), 200))


def test_a_half_is_rounded_up():
    image = np.array([[[0], [1]], [[0], [1]]], "uint8")
    assert fit_image(image, 1, 1, 1).item() == 1


def test_grey():
    image = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], "uint8")
    assert [fit_image(image[:, i : i + 1], 1, 1, 1).item() for i in range(4)] == [76, 150, 29, 255]
    assert fit_image(np.full((3, 3), 9, "uint8"), 2, 2, 3).tolist() == np.full((2, 2, 3), 9).tolist()


def test_sums_of_a_large_white_photograph_are_exact():
    white = np.full((3024, 4032, 1), 255, "uint8")
    assert fit_image(white, 3, 7, 1).min() == 255


@pytest.mark.parametrize(
    ("image", "sizes", "message"),
    [
        (np.zeros((2, 2, 3)), (1, 1), r"a uint8 image .* Received: float64"),
        (np.zeros((2, 2, 4), "uint8"), (1, 1), r"of shape \(2, 2, 4\)"),
        (np.zeros((0, 2, 3), "uint8"), (1, 1), r"of shape \(0, 2, 3\)"),
        (np.zeros((2, 2, 3), "uint8"), (0, 1), "height=0"),
        (np.zeros((2, 2, 3), "uint8"), (1, 1, 2), "channels=2"),
    ],
)
def test_what_does_not_fit_is_an_error(image, sizes, message):
    with pytest.raises(ValueError, match=message):
        fit_image(image, *sizes)


def test_the_values_of_a_float_input_are_image_over_255():
    image = np.arange(256).astype("float32")
    np.testing.assert_array_equal(input_values("float32", (0, 1)), image / np.float32(255))
    np.testing.assert_array_equal(input_values("float32", (-1, 1))[[0, 255]], [-1, 1])


def test_the_values_of_quantized_inputs():
    np.testing.assert_array_equal(input_values("uint8", (0, 255)), np.arange(256))
    values = input_values("int8", (0, 1), scale=1 / 255, zero_point=-128)
    assert values.dtype == np.int8
    np.testing.assert_array_equal(values, np.arange(256) - 128)
    assert input_values("int8", (0, 255), scale=0.5, zero_point=0).max() == 127
    with pytest.raises(ValueError, match=r"float32, int8 or uint8. Received: int32"):
        input_values("int32", (0, 1))
