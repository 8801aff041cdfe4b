package org.tensorflow.lite;

import java.nio.ByteBuffer;

public final class Interpreter implements AutoCloseable {
    public static class Options {
        public Options setNumThreads(int numThreads) {
            return this;
        }
    }

    public Interpreter(ByteBuffer byteBuffer, Options options) {}

    public Tensor getInputTensor(int inputIndex) {
        return null;
    }

    public Tensor getOutputTensor(int outputIndex) {
        return null;
    }

    public void run(Object input, Object output) {}

    @Override
    public void close() {}
}
