static float sbn_add(float x, float y)
{
    return x + y;
}
