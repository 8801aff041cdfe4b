"""From a folded Keras model to a verified .tflite file."""
