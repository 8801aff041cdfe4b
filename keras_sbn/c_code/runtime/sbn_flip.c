/* Unsigned 8-bit integers as signed ones, 128 less, and the other way round. */
static void sbn_flip(const uint8_t *x, uint8_t *y, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        y[i] = x[i] ^ 0x80u;
}
