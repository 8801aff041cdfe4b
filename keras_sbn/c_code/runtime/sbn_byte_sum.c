/* The sum of products of 8-bit integers at one place; `flip` is 0x80 where the input is signed. */
static int32_t sbn_byte_sum(const uint8_t *x, const int8_t *kernel, const sbn_window *w, int32_t depth,
                            int32_t first, uint8_t flip, int32_t zero, int32_t row, int32_t column)
{
    int32_t sum = 0;
    for (int32_t i = 0; i < w->rows; i++) {
        const int32_t y = row * w->down - w->above + i * w->dilation_down;
        for (int32_t j = 0; j < w->columns; j++, kernel += depth) {
            const int32_t z = column * w->right - w->before + j * w->dilation_right;
            if (y < 0 || y >= w->height || z < 0 || z >= w->width)
                continue;
            const uint8_t *at = x + (y * w->width + z) * w->channels + first;
            for (int32_t c = 0; c < depth; c++)
                sum += ((int32_t)(at[c] ^ flip) - 128 - zero) * kernel[c];
        }
    }
    return sum;
}
