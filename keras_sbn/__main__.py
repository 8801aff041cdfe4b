"""`python -m keras_sbn`: the command line, where the `keras-sbn` script is not on the PATH."""

import sys

from keras_sbn.cli import command

if __name__ == "__main__":
    sys.exit(command())
