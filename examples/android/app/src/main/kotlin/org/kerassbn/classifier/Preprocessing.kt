package org.kerassbn.classifier

/**
 * Makes the model's image of a photograph, as keras_sbn.deployment.fit_image does, bit for bit.
 *
 * The largest piece of the right shape is cut out of the middle. Each pixel of the result is the mean of
 * what it covers, source pixels that it covers in part counting with their share, rounded half up. All
 * of it is integer arithmetic, so that there is one right answer: in units of 1 / (target size) of a
 * source pixel, source row r covers [r * target, (r + 1) * target) and target row i covers
 * [i * source, (i + 1) * source).
 */
object Preprocessing {
    /**
     * @param argb pixels row by row, as `Bitmap.getPixels` gives them; the alpha is not looked at
     * @param channels 3 for red, green, blue; 1 for the grey of them
     * @return `targetHeight * targetWidth * channels` values of 0 to 255
     */
    fun fit(
        argb: IntArray,
        width: Int,
        height: Int,
        targetWidth: Int,
        targetHeight: Int,
        channels: Int,
    ): ByteArray {
        require(channels == 1 || channels == 3) { "Expected 1 or 3 channels. Received: $channels" }
        require(width > 0 && height > 0 && argb.size == width * height) {
            "Expected width * height pixels. Received: ${argb.size} for $width x $height"
        }
        val wide = width.toLong() * targetHeight > height.toLong() * targetWidth
        val cutWidth = if (wide) cut(height, targetWidth, targetHeight) else width
        val cutHeight = if (wide) height else cut(width, targetHeight, targetWidth)
        val left = (width - cutWidth) / 2
        val top = (height - cutHeight) / 2
        val total = cutWidth.toLong() * cutHeight
        val result = ByteArray(targetHeight * targetWidth * channels)
        val sums = LongArray(3 * targetWidth)
        for (i in 0 until targetHeight) {
            sums.fill(0)
            val begin = i.toLong() * cutHeight
            val end = begin + cutHeight
            for (row in rows(begin, end, targetHeight)) {
                val weight = overlap(row, targetHeight, begin, end)
                addRow(argb, (top + row) * width + left, cutWidth, targetWidth, weight, sums)
            }
            for (j in 0 until targetWidth) {
                val red = rounded(sums[3 * j], total)
                val green = rounded(sums[3 * j + 1], total)
                val blue = rounded(sums[3 * j + 2], total)
                val at = (i * targetWidth + j) * channels
                if (channels == 1) {
                    result[at] = ((299 * red + 587 * green + 114 * blue + 500) / 1000).toByte()
                } else {
                    result[at] = red.toByte()
                    result[at + 1] = green.toByte()
                    result[at + 2] = blue.toByte()
                }
            }
        }
        return result
    }

    /** The length that goes with `other` in the shape of the target, at least 1. */
    private fun cut(other: Int, target: Int, otherTarget: Int): Int =
        (other.toLong() * target / otherTarget).toInt().coerceAtLeast(1)

    /** The source rows, or columns, that a target one covers. */
    private fun rows(begin: Long, end: Long, target: Int): IntRange =
        (begin / target).toInt()..((end - 1) / target).toInt()

    private fun overlap(index: Int, target: Int, begin: Long, end: Long): Long {
        val first = index.toLong() * target
        return minOf(first + target, end) - maxOf(first, begin)
    }

    private fun addRow(
        argb: IntArray,
        start: Int,
        cutWidth: Int,
        targetWidth: Int,
        weight: Long,
        sums: LongArray,
    ) {
        for (j in 0 until targetWidth) {
            val begin = j.toLong() * cutWidth
            val end = begin + cutWidth
            for (column in rows(begin, end, targetWidth)) {
                val pixel = argb[start + column]
                val share = weight * overlap(column, targetWidth, begin, end)
                sums[3 * j] += share * (pixel shr 16 and 255)
                sums[3 * j + 1] += share * (pixel shr 8 and 255)
                sums[3 * j + 2] += share * (pixel and 255)
            }
        }
    }

    /** `sum / total`, rounded half up. */
    private fun rounded(sum: Long, total: Long): Int = ((2 * sum + total) / (2 * total)).toInt()
}
