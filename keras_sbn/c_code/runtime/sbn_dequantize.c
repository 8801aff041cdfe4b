/* 8-bit integers as floats; `flip` is 0x80 where they are signed. */
static void sbn_dequantize(const uint8_t *x, float *y, int32_t count, float scale, int32_t zero, uint8_t flip)
{
    for (int32_t i = 0; i < count; i++)
        y[i] = scale * (float)((int32_t)(x[i] ^ flip) - (flip ? 128 : 0) - zero);
}
