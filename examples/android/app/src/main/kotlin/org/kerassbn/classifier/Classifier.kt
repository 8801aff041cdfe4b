package org.kerassbn.classifier

import android.content.res.AssetManager
import android.graphics.Bitmap
import org.tensorflow.lite.DataType
import org.tensorflow.lite.Interpreter
import org.tensorflow.lite.Tensor
import java.io.Closeable
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.channels.FileChannel

/** A class, and the model's score for it. */
data class Score(val label: String, val value: Float)

/** The scores, highest first, and how long the network took. */
data class Classification(val scores: List<Score>, val milliseconds: Double)

/**
 * Runs the model in the assets.
 *
 * `model.tflite` is the model and `labels.txt` has a class a line. `input_values.bin` says what the model
 * takes for each of the values 0 to 255 of an image: 256 numbers of the type of its input. All three are
 * written by `keras-sbn deploy android`.
 */
class Classifier(assets: AssetManager) : Closeable {
    private val labels = assets.open("labels.txt").bufferedReader().use { it.readLines() }
    private val inputValues = assets.open("input_values.bin").use { it.readBytes() }
    private val interpreter = Interpreter(map(assets, "model.tflite"), options())
    private val input: Tensor = interpreter.getInputTensor(0)
    private val output: Tensor = interpreter.getOutputTensor(0)

    init {
        check(input.shape().size == 4) { "Expected a model of images. Received: ${input.shape().toList()}" }
        check(inputValues.size == 256 * input.dataType().byteSize()) {
            "Expected 256 values of ${input.dataType()} in input_values.bin. Received: ${inputValues.size} bytes"
        }
        check(output.numElements() == labels.size) {
            "Expected ${output.numElements()} lines in labels.txt. Received: ${labels.size}"
        }
    }

    fun classify(bitmap: Bitmap): Classification {
        val pixels = IntArray(bitmap.width * bitmap.height)
        bitmap.getPixels(pixels, 0, bitmap.width, 0, 0, bitmap.width, bitmap.height)
        val (_, height, width, channels) = input.shape()
        val image = Preprocessing.fit(pixels, bitmap.width, bitmap.height, width, height, channels)
        val given = buffer(input)
        val size = input.dataType().byteSize()
        for (value in image) {
            given.put(inputValues, (value.toInt() and 255) * size, size)
        }
        given.rewind()
        val taken = buffer(output)
        val started = System.nanoTime()
        interpreter.run(given, taken)
        val milliseconds = (System.nanoTime() - started) / 1e6
        taken.rewind()
        val scores = labels.map { Score(it, next(taken)) }
        return Classification(scores.sortedByDescending { it.value }, milliseconds)
    }

    override fun close() = interpreter.close()

    private fun next(values: ByteBuffer): Float {
        val parameters = output.quantizationParams()
        return when (val type = output.dataType()) {
            DataType.FLOAT32 -> values.getFloat()
            DataType.INT8 -> parameters.scale * (values.get() - parameters.zeroPoint)
            DataType.UINT8 -> parameters.scale * ((values.get().toInt() and 255) - parameters.zeroPoint)
            else -> error("Expected an output of float32, int8 or uint8. Received: $type")
        }
    }

    private fun buffer(tensor: Tensor): ByteBuffer =
        ByteBuffer.allocateDirect(tensor.numBytes()).order(ByteOrder.nativeOrder())

    private fun options() = Interpreter.Options().apply {
        setNumThreads(Runtime.getRuntime().availableProcessors().coerceAtMost(4))
    }

    private fun map(assets: AssetManager, name: String): ByteBuffer =
        assets.openFd(name).use { asset ->
            FileInputStream(asset.fileDescriptor).channel.use { channel ->
                channel.map(FileChannel.MapMode.READ_ONLY, asset.startOffset, asset.declaredLength)
            }
        }
}
