static void sbn_divide_all(float *y, int32_t count, float divisor)
{
    for (int32_t i = 0; i < count; i++)
        y[i] /= divisor;
}
