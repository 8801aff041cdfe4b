/* Floats as 8-bit integers, halves away from 0; `flip` is 0x80 where they are signed. */
static void sbn_quantize(const float *x, uint8_t *y, int32_t count, float scale, int32_t zero, uint8_t flip)
{
    for (int32_t i = 0; i < count; i++) {
        const float step = roundf(x[i] / scale) + (float)zero;
        const int32_t least = flip ? -128 : 0;
        const int32_t q = step < (float)least ? least : step > (float)(least + 255) ? least + 255 : (int32_t)step;
        y[i] = (uint8_t)(q - least) ^ flip;
    }
}
