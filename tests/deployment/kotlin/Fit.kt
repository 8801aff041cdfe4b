// Runs Preprocessing.fit on the images of a file and writes what it gives: the numbers of the images are
// width, height, target width, target height, channels, each a big-endian integer, then the pixels.

import java.io.DataInputStream
import java.io.DataOutputStream
import java.io.File
import org.kerassbn.classifier.Preprocessing

fun main(arguments: Array<String>) {
    DataInputStream(File(arguments[0]).inputStream().buffered()).use { source ->
        DataOutputStream(File(arguments[1]).outputStream().buffered()).use { target ->
            repeat(source.readInt()) {
                val (width, height, targetWidth, targetHeight, channels) = List(5) { source.readInt() }
                val pixels = IntArray(width * height) { source.readInt() }
                target.write(Preprocessing.fit(pixels, width, height, targetWidth, targetHeight, channels))
            }
        }
    }
}
