/* exp(x) over its sum, of every row. */
static void sbn_softmax(const float *x, float *y, int32_t rows, int32_t columns)
{
    for (int32_t i = 0; i < rows; i++, x += columns, y += columns) {
        float largest = x[0], sum = 0.0f;
        for (int32_t j = 1; j < columns; j++)
            largest = x[j] > largest ? x[j] : largest;
        for (int32_t j = 0; j < columns; j++) {
            y[j] = expf(x[j] - largest);
            sum += y[j];
        }
        for (int32_t j = 0; j < columns; j++)
            y[j] /= sum;
    }
}
