"""The comparison equals the sign of the affine map in exact arithmetic."""

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_sbn.folding.ops import Affine
from keras_sbn.folding.thresholds import round_up_to_float32, threshold_of

#: Numbers whose quotients are exact in float64, so that ties are met, not missed by rounding.
_scales = st.sampled_from([-4.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 4.0])
_halves = st.integers(-80, 80).map(lambda n: n / 2)


@given(_scales, _halves, _halves, st.integers(1, 30))
def test_every_integer_is_decided_as_by_the_affine_map(scale, center, offset, bound):
    affine = Affine(np.array([center]), np.array([scale]), np.array([offset]))
    found = threshold_of(affine, bound)
    threshold, direction = found.threshold[0], int(found.direction[0])
    assert threshold.is_integer()
    assert -bound - 1 <= threshold <= bound + 1
    for x in range(-bound, bound + 1):
        exact = Fraction(scale) * (x - Fraction(center)) + Fraction(offset)
        assert (direction * x >= threshold) == (exact >= 0)


@given(_scales, _halves, _halves, st.floats(-100, 100, width=32))
def test_every_real_number_is_decided_as_by_the_affine_map(scale, center, offset, x):
    affine = Affine(np.array([center]), np.array([scale]), np.array([offset]))
    found = threshold_of(affine, None)
    exact = Fraction(scale) * (Fraction(x) - Fraction(center)) + Fraction(offset)
    compared = np.float32(x) * found.direction[0] >= round_up_to_float32(found.threshold)[0]
    assert compared == (exact >= 0)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False, width=32))
def test_rounding_up_changes_no_comparison(threshold, x):
    rounded = round_up_to_float32(np.array([threshold]))[0]
    assert (np.float32(x) >= rounded) == (float(x) >= threshold)
