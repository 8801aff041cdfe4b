static float sbn_relu6(float x)
{
    return x > 6.0f ? 6.0f : x > 0.0f ? x : 0.0f;
}
