static float sbn_prelu(float x, float y)
{
    return x > 0.0f ? x : x * y;
}
