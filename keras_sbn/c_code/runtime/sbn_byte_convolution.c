/* A convolution of 8-bit integers, written as bits: 1, which is -1, where sum and bias are negative. */
static void sbn_byte_convolution(const uint8_t *x, const int8_t *kernel, const int32_t *bias, uint32_t *y,
                                 const sbn_window *w, int32_t depth, uint8_t flip, int32_t zero)
{
    const int32_t size = w->rows * w->columns * depth;
    const int32_t filters = w->out_channels / (w->channels / depth);
    for (int32_t row = 0; row < w->out_height; row++)
        for (int32_t column = 0; column < w->out_width; column++)
            for (int32_t f = 0; f < w->out_channels; y++) {
                uint32_t bits = 0;
                for (int32_t b = 0; b < 32 && f < w->out_channels; b++, f++) {
                    const int32_t first = f / filters * depth;
                    if (sbn_byte_sum(x, kernel + f * size, w, depth, first, flip, zero, row, column)
                        + bias[f] < 0)
                        bits |= (uint32_t)1 << b;
                }
                *y = bits;
            }
}
