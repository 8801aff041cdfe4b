package org.kerassbn.classifier

import android.app.Activity
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.ColorSpace
import android.graphics.ImageDecoder
import android.net.Uri
import android.os.Bundle
import android.widget.Button
import android.widget.ImageView
import android.widget.TextView
import java.io.IOException
import java.util.concurrent.Executors

/** Lets the user choose a picture, and shows the classes with the highest scores. */
class MainActivity : Activity() {
    private val worker = Executors.newSingleThreadExecutor()
    private val classifier = lazy { Classifier(assets) }

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.activity_main)
        findViewById<Button>(R.id.choose).setOnClickListener {
            val choose = Intent(Intent.ACTION_GET_CONTENT).setType("image/*")
            startActivityForResult(choose, CHOOSE)
        }
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        super.onActivityResult(requestCode, resultCode, data)
        val uri = data?.data
        if (requestCode == CHOOSE && resultCode == RESULT_OK && uri != null) {
            worker.execute { classify(uri) }
        }
    }

    override fun onDestroy() {
        worker.execute { if (classifier.isInitialized()) classifier.value.close() }
        worker.shutdown()
        super.onDestroy()
    }

    private fun classify(uri: Uri) {
        try {
            val started = System.nanoTime()
            val bitmap = decode(uri)
            val found = classifier.value.classify(bitmap)
            val milliseconds = (System.nanoTime() - started) / 1e6
            val lines = found.scores.take(SHOWN).joinToString("\n") { "%.3f  %s".format(it.value, it.label) }
            show(bitmap, getString(R.string.result, lines, found.milliseconds, milliseconds))
        } catch (error: IOException) {
            show(null, getString(R.string.failed, error.message))
        } catch (error: RuntimeException) {
            // A model that the interpreter refuses, such as one of the Larq Compute Engine without its AAR.
            show(null, getString(R.string.failed, error.message))
        }
    }

    /** Upright, in sRGB, at full size: the pixels that the training's tools see. */
    private fun decode(uri: Uri): Bitmap =
        ImageDecoder.decodeBitmap(ImageDecoder.createSource(contentResolver, uri)) { decoder, _, _ ->
            decoder.allocator = ImageDecoder.ALLOCATOR_SOFTWARE
            decoder.setTargetColorSpace(ColorSpace.get(ColorSpace.Named.SRGB))
        }

    private fun show(bitmap: Bitmap?, text: String) = runOnUiThread {
        findViewById<ImageView>(R.id.picture).setImageBitmap(bitmap)
        findViewById<TextView>(R.id.result).text = text
    }

    private companion object {
        const val CHOOSE = 1
        const val SHOWN = 5
    }
}
