"""C code of a network: the operators of a file as one C99 source, with one C function an operator."""
