"""ONNX graphs: from the operators of a file to standard operators, or to those of QONNX."""
