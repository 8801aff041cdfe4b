"""The graph pass that turns batch normalization and sign into integer thresholds."""

from keras_sbn.folding.fold import fold as fold
