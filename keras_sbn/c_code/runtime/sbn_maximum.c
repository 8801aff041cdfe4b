static float sbn_maximum(float x, float y)
{
    return x > y ? x : y;
}
