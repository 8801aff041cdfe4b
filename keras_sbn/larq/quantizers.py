"""Larq's quantizers: their names, and which of them are the sign."""

from __future__ import annotations

from typing import Any

#: Quantizers whose values are sign(x), with sign(0) = +1; they differ in their gradients only.
SIGNS = ("ste_sign", "approx_sign", "swish_sign")
#: Its values are sign(w), scaled by the mean of |w| over all axes but the last.
MAGNITUDE = "magnitude_aware_sign"


def quantizer_name(quantizer: Any) -> str | None:
    """Names a quantizer: one of `SIGNS`, `MAGNITUDE`, or its own; `None` for none and for `NoOp`.

    A class derived from one of Larq's may compute anything, so it goes by its own name.
    """
    import larq

    if quantizer is None or type(quantizer) is larq.quantizers.NoOp:
        return None
    classes = {
        larq.quantizers.SteSign: "ste_sign",
        larq.quantizers.ApproxSign: "approx_sign",
        larq.quantizers.SwishSign: "swish_sign",
        larq.quantizers.MagnitudeAwareSign: MAGNITUDE,
    }
    if type(quantizer) in classes:
        return classes[type(quantizer)]
    for known in SIGNS:
        if quantizer is getattr(larq.quantizers, known):
            return known
    if isinstance(quantizer, larq.quantizers.DoReFa):
        return f"DoReFa(k_bit={quantizer.precision}, mode={quantizer.mode!r})"
    own = getattr(quantizer, "__name__", type(quantizer).__name__)
    # A function of one's own may have the name of one of Larq's.
    return own if own not in (*SIGNS, MAGNITUDE) else f"{own} (not Larq's)"
