/* The sum of products of ±1 at one place: bit 1 is -1, so it is the number of products less twice the
   number of bits that differ. Outside the map the input is +1, of bits 0, or nothing. */
static int32_t sbn_binary_sum(const uint32_t *x, const uint32_t *kernel, const sbn_window *w,
                              int32_t depth, int outside, int32_t row, int32_t column)
{
    int32_t sum = 0, negative = 0;
    for (int32_t i = 0; i < w->rows; i++) {
        const int32_t y = row * w->down - w->above + i * w->dilation_down;
        for (int32_t j = 0; j < w->columns; j++, kernel += w->channels) {
            const int32_t z = column * w->right - w->before + j * w->dilation_right;
            if (y >= 0 && y < w->height && z >= 0 && z < w->width) {
                const uint32_t *at = x + (y * w->width + z) * w->channels;
                for (int32_t c = 0; c < w->channels; c++)
                    negative += sbn_popcount(at[c] ^ kernel[c]);
                sum += depth;
            } else if (outside) {
                for (int32_t c = 0; c < w->channels; c++)
                    negative += sbn_popcount(kernel[c]);
                sum += depth;
            }
        }
    }
    return sum - 2 * negative;
}
