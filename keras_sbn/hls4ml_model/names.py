"""Names that the layers of this room have in hls4ml."""

THRESHOLD, AFFINE, PAD = "KerasSbnThreshold", "KerasSbnAffine", "KerasSbnPad"
