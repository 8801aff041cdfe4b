import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from keras_sbn.folding.affine_maps import joined, mapped, multiplied_out, rank
from keras_sbn.folding.ops import Affine

_numbers = st.floats(-8, 8, width=32)
_maps = st.tuples(_numbers, st.one_of(st.just(0.0), _numbers), _numbers, st.floats(0.125, 8, width=32))


def _affine(center, scale, offset, divisor):
    return Affine(*(np.array([p]) for p in (center, scale, offset)), divisor=np.array([divisor]))


def _value(affine, x):
    if affine.inner is not None:
        x = _value(affine.inner, x)
    return affine.scale * (x - affine.center) / affine.divisor + affine.offset


@given(st.lists(_maps, min_size=1, max_size=4), _numbers)
def test_maps_joined_and_multiplied_out_have_the_value_of_one_after_the_other(maps, x):
    affine, expected = None, np.array([float(x)])
    for parameters in maps:
        step = _affine(*parameters)
        expected = _value(step, expected)
        affine = step if affine is None else joined(affine, step)
    np.testing.assert_array_equal(_value(affine, x), expected)
    one = multiplied_out(affine)
    assert one.inner is None
    # What a slope near 0 takes away, no center can give back.
    if all(scale == 0 or abs(scale) > 1e-3 for _, scale, _, _ in maps):
        np.testing.assert_allclose(_value(one, x), expected, rtol=1e-6, atol=1e-6)


def test_joining_two_rows_of_maps_keeps_their_order():
    first = joined(_affine(0, 2, 0, 1), _affine(1, 1, 0, 1))
    second = joined(_affine(0, 3, 0, 1), _affine(0, 1, 5, 1))
    np.testing.assert_array_equal(_value(joined(first, second), 4.0), [(4 * 2 - 1) * 3 + 5])


def test_every_parameter_is_mapped_and_the_largest_rank_counts():
    affine = joined(_affine(0, 2, 0, 1), _affine(1, 1, 0, 4))
    assert rank(affine) == 1
    wide = mapped(affine, lambda p: np.broadcast_to(p, (2, 3)))
    assert rank(wide) == 2
    assert wide.inner.scale.shape == wide.divisor.shape == (2, 3)
    joined_wide = joined(wide, _affine(0, 1, 0, 1))
    assert rank(joined_wide) == 2
