"""From a Keras model of real values to a self-binarizing one."""
