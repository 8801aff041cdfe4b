/* A function of pairs of values. */
static void sbn_combine(const float *x, const float *y, float *z, const sbn_broadcast *b,
                        float (*function)(float, float))
{
    int32_t at[4];
    for (at[0] = 0; at[0] < b->size[0]; at[0]++)
        for (at[1] = 0; at[1] < b->size[1]; at[1]++)
            for (at[2] = 0; at[2] < b->size[2]; at[2]++)
                for (at[3] = 0; at[3] < b->size[3]; at[3]++, z++) {
                    int32_t i = 0, j = 0;
                    for (int d = 0; d < 4; d++) {
                        i += at[d] * b->step_x[d];
                        j += at[d] * b->step_y[d];
                    }
                    *z = function(x[i], y[j]);
                }
}
