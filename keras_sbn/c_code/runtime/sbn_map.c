/* A function of every value. */
static void sbn_map(const float *x, float *y, int32_t count, float (*function)(float))
{
    for (int32_t i = 0; i < count; i++)
        y[i] = function(x[i]);
}
