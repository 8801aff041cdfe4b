static float sbn_elu(float x)
{
    return x > 0.0f ? x : expm1f(x);
}
