/* A convolution of floats. Groups are as many as `depth` goes into the channels. */
static void sbn_convolution(const float *x, const sbn_weights *kernel, const float *bias, float *y,
                            const sbn_window *w, int32_t depth)
{
    const int32_t size = w->rows * w->columns * depth;
    const int32_t filters = w->out_channels / (w->channels / depth);
    for (int32_t row = 0; row < w->out_height; row++)
        for (int32_t column = 0; column < w->out_width; column++)
            for (int32_t f = 0; f < w->out_channels; f++, y++) {
                float sum = 0.0f;
                for (int32_t i = 0; i < w->rows; i++) {
                    const int32_t above = row * w->down - w->above + i * w->dilation_down;
                    for (int32_t j = 0; j < w->columns; j++) {
                        const int32_t before = column * w->right - w->before + j * w->dilation_right;
                        if (above < 0 || above >= w->height || before < 0 || before >= w->width)
                            continue;
                        const float *at = x + (above * w->width + before) * w->channels + f / filters * depth;
                        const int32_t k = f * size + (i * w->columns + j) * depth;
                        for (int32_t c = 0; c < depth; c++)
                            sum += at[c] * sbn_weight(kernel, k + c);
                    }
                }
                *y = bias ? sum + bias[f] : sum;
            }
}
