static float sbn_floor(float x)
{
    return floorf(x);
}
