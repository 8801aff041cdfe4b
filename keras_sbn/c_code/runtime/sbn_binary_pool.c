/* The maxima of bits: -1, which is 1, where all are. */
static void sbn_binary_pool(const uint32_t *x, uint32_t *y, const sbn_window *w)
{
    for (int32_t row = 0; row < w->out_height; row++)
        for (int32_t column = 0; column < w->out_width; column++)
            for (int32_t c = 0; c < w->channels; c++, y++) {
                uint32_t all = 0xFFFFFFFFu;
                for (int32_t i = 0; i < w->rows; i++) {
                    const int32_t above = row * w->down - w->above + i;
                    for (int32_t j = 0; j < w->columns; j++) {
                        const int32_t before = column * w->right - w->before + j;
                        if (above >= 0 && above < w->height && before >= 0 && before < w->width)
                            all &= x[(above * w->width + before) * w->channels + c];
                    }
                }
                *y = all;
            }
}
