/* A convolution of bits, written as bits: 1, which is -1, where the sum is less than the threshold. */
static void sbn_binary_convolution(const uint32_t *x, const uint32_t *kernel, const int32_t *threshold,
                                   uint32_t *y, const sbn_window *w, int32_t depth, int outside)
{
    const int32_t size = w->rows * w->columns * w->channels;
    for (int32_t row = 0; row < w->out_height; row++)
        for (int32_t column = 0; column < w->out_width; column++)
            for (int32_t f = 0; f < w->out_channels; y++) {
                uint32_t bits = 0;
                for (int32_t b = 0; b < 32 && f < w->out_channels; b++, f++)
                    if (sbn_binary_sum(x, kernel + f * size, w, depth, outside, row, column) < threshold[f])
                        bits |= (uint32_t)1 << b;
                *y = bits;
            }
}
