"""Affine maps in a row, joined and multiplied out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from keras_sbn.folding.ops import Affine


def joined(inner: Affine, outer: Affine) -> Affine:
    """Returns the map that applies `inner` and then `outer`, the parameters of both kept."""
    before = inner if outer.inner is None else joined(inner, outer.inner)
    return replace(outer, inner=before)


def mapped(affine: Affine, change: Callable[[np.ndarray], np.ndarray]) -> Affine:
    """Returns the same map with `change` applied to each of its parameters."""
    return Affine(
        change(affine.center),
        change(affine.scale),
        change(affine.offset),
        change(np.asarray(affine.divisor)),
        None if affine.inner is None else mapped(affine.inner, change),
    )


def multiplied_out(affine: Affine) -> Affine:
    """Returns `affine` as one map with a divisor of 1.

    ``s2 (s1 (x - c1) + o1 - c2) + o2 = s1 s2 (x - c) + o2`` with ``c = c1 - (o1 - c2) / s1``: c is where
    the inner map reaches the center of the outer one. Where s1 is 0 the inner map is constant, and so is
    the result, ``s2 (o1 - c2) + o2``.
    """
    scale = affine.scale / affine.divisor
    if affine.inner is None:
        return Affine(affine.center, scale, affine.offset)
    inner = multiplied_out(affine.inner)
    constant = inner.scale == 0
    slope = np.where(constant, 1.0, inner.scale)
    difference = inner.offset - affine.center
    center = np.where(constant, 0.0, inner.center - difference / slope)
    offset = np.where(constant, scale * difference + affine.offset, affine.offset)
    return Affine(center, inner.scale * scale, offset)


def rank(affine: Affine) -> int:
    """Returns the largest number of axes that a parameter of `affine` has; 1 is one value a channel."""
    parameters = (affine.center, affine.scale, affine.offset, affine.divisor)
    own = max(np.ndim(parameter) for parameter in parameters)
    return own if affine.inner is None else max(own, rank(affine.inner))
