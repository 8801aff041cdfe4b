/* How a window moves over a map, and the sizes of both. */
typedef struct {
    int32_t height, width, channels;     /* of the input; channels are words where they are bits */
    int32_t rows, columns;               /* of the window */
    int32_t down, right;                 /* strides */
    int32_t dilation_down, dilation_right;
    int32_t above, before;               /* padding */
    int32_t out_height, out_width, out_channels;
} sbn_window;
