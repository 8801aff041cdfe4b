static float sbn_sub(float x, float y)
{
    return x - y;
}
