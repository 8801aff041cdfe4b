static float sbn_minimum(float x, float y)
{
    return x < y ? x : y;
}
