"""The version of the package, where it is read without importing Keras."""

__version__ = "0.2.0"
