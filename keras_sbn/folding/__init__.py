"""The graph pass that turns batch normalization and sign into integer thresholds."""
