/* A convolution of floats, each channel alone, with as many filters a channel as go into the outputs. */
static void sbn_depthwise_convolution(const float *x, const sbn_weights *kernel, const float *bias, float *y,
                                      const sbn_window *w)
{
    const int32_t filters = w->out_channels / w->channels;
    for (int32_t row = 0; row < w->out_height; row++)
        for (int32_t column = 0; column < w->out_width; column++)
            for (int32_t f = 0; f < w->out_channels; f++, y++) {
                float sum = 0.0f;
                for (int32_t i = 0; i < w->rows; i++) {
                    const int32_t above = row * w->down - w->above + i * w->dilation_down;
                    for (int32_t j = 0; j < w->columns; j++) {
                        const int32_t before = column * w->right - w->before + j * w->dilation_right;
                        if (above >= 0 && above < w->height && before >= 0 && before < w->width)
                            sum += x[(above * w->width + before) * w->channels + f / filters]
                                * sbn_weight(kernel, (i * w->columns + j) * w->out_channels + f);
                    }
                }
                *y = bias ? sum + bias[f] : sum;
            }
}
