"""The file format of TFLite and its runtimes: it knows no Keras layer and no folding."""
