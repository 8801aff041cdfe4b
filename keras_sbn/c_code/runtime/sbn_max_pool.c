static void sbn_max_pool(const float *x, float *y, const sbn_window *w)
{
    for (int32_t row = 0; row < w->out_height; row++)
        for (int32_t column = 0; column < w->out_width; column++)
            for (int32_t c = 0; c < w->channels; c++, y++) {
                int32_t count = 0;
                for (int32_t i = 0; i < w->rows; i++) {
                    const int32_t above = row * w->down - w->above + i;
                    for (int32_t j = 0; j < w->columns; j++) {
                        const int32_t before = column * w->right - w->before + j;
                        if (above < 0 || above >= w->height || before < 0 || before >= w->width)
                            continue;
                        const float value = x[(above * w->width + before) * w->channels + c];
                        *y = count++ && *y > value ? *y : value;
                    }
                }
            }
}
