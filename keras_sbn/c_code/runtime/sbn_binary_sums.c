/* A convolution of bits, written as numbers: the sums themselves, times a factor, plus an offset. */
static void sbn_binary_sums(const uint32_t *x, const uint32_t *kernel, const float *factor,
                            const float *offset, float *y, const sbn_window *w, int32_t depth, int outside)
{
    const int32_t size = w->rows * w->columns * w->channels;
    for (int32_t row = 0; row < w->out_height; row++)
        for (int32_t column = 0; column < w->out_width; column++)
            for (int32_t f = 0; f < w->out_channels; f++, y++) {
                *y = (float)sbn_binary_sum(x, kernel + f * size, w, depth, outside, row, column);
                if (factor)
                    *y *= factor[f];
                if (offset)
                    *y += offset[f];
            }
}
