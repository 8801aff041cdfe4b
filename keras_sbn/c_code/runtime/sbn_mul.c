static float sbn_mul(float x, float y)
{
    return x * y;
}
