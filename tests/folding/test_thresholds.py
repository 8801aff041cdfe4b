"""The comparison equals the sign of the affine map in exact arithmetic."""

from fractions import Fraction

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from keras_sbn.folding.ops import Affine
from keras_sbn.folding.thresholds import (
    between_grid_points,
    negated,
    on_grid,
    round_up_to_float32,
    threshold_of,
    trimmed,
)
from keras_sbn.folding.value_ranges import Grid

#: Numbers whose quotients are exact in float64, so that ties are met, not missed by rounding.
_scales = st.sampled_from([-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0])
_halves = st.integers(-80, 80).map(lambda n: n / 2)
#: What is compared; a subnormal number is 0 to TensorFlow, and so to the fold.
_values = st.floats(allow_nan=False, width=32, allow_subnormal=False)


@given(_scales, _halves, _halves, st.integers(1, 20), st.integers(1, 4))
def test_every_grid_point_is_decided_as_by_the_affine_map(scale, center, offset, bound, steps):
    affine = Affine(np.array([center]), np.array([scale]), np.array([offset]))
    found = threshold_of(affine)
    grid, direction = Grid(steps, bound), int(found.direction[0])
    rounded = on_grid(found.threshold, grid)[0]
    assert rounded.is_integer()
    assert abs(rounded) <= bound * steps + 1
    for point in range(-bound * steps, bound * steps + 1):
        x = Fraction(point, steps)
        exact = Fraction(scale) * (x - Fraction(center)) + Fraction(offset)
        assert (direction * point >= rounded) == (exact >= 0)
        halfway = between_grid_points(found.threshold, grid)[0]
        # Still right where x is off by a quarter of a step, as an average or a fast convolution is.
        for off in (-0.25, 0.0, 0.25):
            assert (direction * (point + off) / steps >= halfway) == (exact >= 0)
        opposite = negated(found.threshold, grid)[0]
        assert (float(x) >= opposite) == (not -float(x) >= found.threshold[0])


@given(st.floats(allow_nan=False, width=32), _values)
def test_the_negation_of_a_real_comparison(threshold, x):
    opposite = negated(np.array([threshold], np.float64), None)[0]
    if np.isfinite(x):
        assert (x >= opposite) == (not -x >= threshold)


def test_parameters_that_do_not_change_along_an_axis_are_trimmed():
    assert trimmed(np.ones((3, 4, 5))).shape == (5,)
    assert trimmed(np.arange(12).reshape(3, 1, 4)).shape == (3, 1, 4)
    assert trimmed(np.ones((2, 1))).shape == (1,)


@given(_scales, _halves, _halves, st.floats(-100, 100, width=32))
def test_every_real_number_is_decided_as_by_the_affine_map(scale, center, offset, x):
    affine = Affine(np.array([center]), np.array([scale]), np.array([offset]))
    found = threshold_of(affine)
    exact = Fraction(scale) * (Fraction(x) - Fraction(center)) + Fraction(offset)
    compared = np.float32(x) * found.direction[0] >= round_up_to_float32(found.threshold)[0]
    assert compared == (exact >= 0)


@given(st.floats(allow_nan=False), _values)
def test_rounding_up_changes_no_comparison(threshold, x):
    rounded = round_up_to_float32(np.array([threshold]))[0]
    assert (np.float32(x) >= rounded) == (float(x) >= threshold)


#: Scales that no float holds exactly, and divisors as the deviations of batch normalization are.
_any_scale = st.one_of(_scales, st.floats(-9, 9, width=32).filter(lambda s: abs(s) > 1e-3))
_steps = st.tuples(_any_scale, _halves, _halves, st.sampled_from([1.0, 2.0, 3.0, 7.0, 0.1]))


@given(st.lists(_steps, min_size=1, max_size=4), st.integers(-40, 40))
def test_maps_in_a_row_decide_as_the_model_computes_them(steps, x):
    """In float64, one operation after the other, as `tests/reference.py` does."""
    affine, value = None, np.array([float(x)])
    for scale, center, offset, divisor in steps:
        parameters = (np.array([p]) for p in (center, scale, offset))
        affine = Affine(*parameters, divisor=np.array([divisor]), inner=affine)
        value = scale * (value - center) / divisor + offset
    # A sum that rounding has made almost 0 is decided by the rounding; a tie is 0 and nothing else.
    assume(value[0] == 0 or abs(value[0]) > 1e-9)
    found = threshold_of(affine)
    rounded = on_grid(found.threshold, Grid(1, 40))[0]
    assert (found.direction[0] * x >= rounded) == (value[0] >= 0)


def test_a_tie_behind_a_scale_that_is_no_short_fraction_is_a_tie():
    """0.7 * 0 + 2 is 2, and minus -1.5 and minus 3.5 it is 0: multiplied out, 0.7 * (3.5 / 0.7) - 3.5."""
    scales = np.array(np.random.default_rng(0).normal(size=1000), np.float32).astype(np.float64)
    zero, one = np.zeros(1000), np.ones(1000)
    scaled = Affine(zero, scales, zero)
    biased = Affine(zero - 2, one, zero, inner=scaled)
    found = threshold_of(Affine(zero - 1.5, one, zero - 3.5, inner=biased))
    np.testing.assert_array_equal(found.threshold, 0)


@given(st.floats(-1e-37, 1e-37))
def test_no_threshold_is_a_subnormal_number(threshold):
    # What flushes subnormal numbers to 0 would take them for 0.
    least = np.finfo(np.float32).tiny
    for found in (round_up_to_float32(np.array([threshold])), negated(np.array([threshold]), None)):
        assert found[0] == 0 or abs(found[0]) >= least


def test_what_is_above_zero_is_not_zero():
    least = float(np.finfo(np.float32).tiny)
    assert negated(np.zeros(1), None)[0] == least  # x > 0
    assert round_up_to_float32(np.array([1e-45]))[0] == least
    assert round_up_to_float32(np.array([-1e-45]))[0] == 0
    assert negated(np.array([least]), None)[0] == 0  # x > -2^-126
