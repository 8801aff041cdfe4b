/* The same bytes over and over. */
static void sbn_fill(void *y, int32_t count, const void *value, int32_t bytes)
{
    for (int32_t i = 0; i < count; i++)
        for (int32_t b = 0; b < bytes; b++)
            ((uint8_t *)y)[i * bytes + b] = ((const uint8_t *)value)[b];
}
