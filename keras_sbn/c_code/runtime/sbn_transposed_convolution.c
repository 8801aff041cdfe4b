/* A transposed convolution of floats: the window is over the output, and its sizes are those. */
static void sbn_transposed_convolution(const float *x, const sbn_weights *kernel, const float *bias, float *y,
                                       const sbn_window *w)
{
    const int32_t filters = w->out_channels, size = w->rows * w->columns * w->channels;
    for (int32_t i = 0; i < w->out_height * w->out_width * filters; i++)
        y[i] = 0.0f;
    for (int32_t row = 0; row < w->height; row++)
        for (int32_t column = 0; column < w->width; column++, x += w->channels)
            for (int32_t i = 0; i < w->rows; i++) {
                const int32_t below = row * w->down - w->above + i;
                for (int32_t j = 0; j < w->columns; j++) {
                    const int32_t after = column * w->right - w->before + j;
                    if (below < 0 || below >= w->out_height || after < 0 || after >= w->out_width)
                        continue;
                    for (int32_t f = 0; f < filters; f++) {
                        const int32_t k = f * size + (i * w->columns + j) * w->channels;
                        float sum = y[(below * w->out_width + after) * filters + f];
                        for (int32_t c = 0; c < w->channels; c++)
                            sum += x[c] * sbn_weight(kernel, k + c);
                        y[(below * w->out_width + after) * filters + f] = sum;
                    }
                }
            }
    if (bias)
        for (int32_t i = 0; i < w->out_height * w->out_width; i++)
            for (int32_t f = 0; f < filters; f++)
                y[i * filters + f] += bias[f];
}
