// What hls4ml does not have: thresholds, multiplications a channel, and padding with any value.
#ifndef KERAS_SBN_H_
#define KERAS_SBN_H_

#include "hls_stream.h"
#include "nnet_common.h"

namespace keras_sbn {

// +1 where the value reaches the threshold, -1 elsewhere; the other way round where the channel is turned.
// Values and thresholds are fixed-point numbers, so the comparison is exact.
template <class value_T, class bit_T, class threshold_T>
bit_T compared(value_T value, threshold_T threshold, bool turned) {
    #pragma HLS INLINE
    return (value >= threshold) != turned ? bit_T(1) : bit_T(-1);
}

template <class data_T, class res_T, typename CONFIG_T>
void threshold(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in],
               typename CONFIG_T::threshold_t thresholds[CONFIG_T::n_values],
               typename CONFIG_T::turned_t turned[CONFIG_T::n_values]) {
    #pragma HLS PIPELINE

    for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
        #pragma HLS UNROLL
        const unsigned channel = i % CONFIG_T::n_values;
        res[i] = compared<data_T, res_T>(data[i], thresholds[channel], turned[channel] != 0);
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void threshold(hls::stream<data_T> &data, hls::stream<res_T> &res,
               typename CONFIG_T::threshold_t thresholds[CONFIG_T::n_values],
               typename CONFIG_T::turned_t turned[CONFIG_T::n_values]) {
    for (unsigned i = 0; i < CONFIG_T::n_in / data_T::size; i++) {
        #pragma HLS PIPELINE
        data_T values = data.read();
        res_T bits;
        PRAGMA_DATA_PACK(bits)

        for (unsigned j = 0; j < data_T::size; j++) {
            #pragma HLS UNROLL
            const unsigned channel = (i * data_T::size + j) % CONFIG_T::n_values;
            bits[j] = compared<typename data_T::value_type, typename res_T::value_type>(
                values[j], thresholds[channel], turned[channel] != 0);
        }
        res.write(bits);
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void affine(data_T data[CONFIG_T::n_in], res_T res[CONFIG_T::n_in],
            typename CONFIG_T::scale_t scales[CONFIG_T::n_values],
            typename CONFIG_T::offset_t offsets[CONFIG_T::n_values]) {
    #pragma HLS PIPELINE

    for (unsigned i = 0; i < CONFIG_T::n_in; i++) {
        #pragma HLS UNROLL
        const unsigned channel = i % CONFIG_T::n_values;
        res[i] = data[i] * scales[channel] + offsets[channel];
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void affine(hls::stream<data_T> &data, hls::stream<res_T> &res,
            typename CONFIG_T::scale_t scales[CONFIG_T::n_values],
            typename CONFIG_T::offset_t offsets[CONFIG_T::n_values]) {
    for (unsigned i = 0; i < CONFIG_T::n_in / data_T::size; i++) {
        #pragma HLS PIPELINE
        data_T values = data.read();
        res_T results;
        PRAGMA_DATA_PACK(results)

        for (unsigned j = 0; j < data_T::size; j++) {
            #pragma HLS UNROLL
            const unsigned channel = (i * data_T::size + j) % CONFIG_T::n_values;
            results[j] = values[j] * scales[channel] + offsets[channel];
        }
        res.write(results);
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void pad(data_T data[CONFIG_T::in_height * CONFIG_T::in_width * CONFIG_T::n_chan],
         res_T res[CONFIG_T::out_height * CONFIG_T::out_width * CONFIG_T::n_chan],
         typename CONFIG_T::value_t value[CONFIG_T::n_values]) {
    #pragma HLS PIPELINE

    for (unsigned i = 0; i < CONFIG_T::out_height; i++) {
        for (unsigned j = 0; j < CONFIG_T::out_width; j++) {
            const bool inside = i >= CONFIG_T::above && i < CONFIG_T::above + CONFIG_T::in_height &&
                                j >= CONFIG_T::before && j < CONFIG_T::before + CONFIG_T::in_width;
            for (unsigned c = 0; c < CONFIG_T::n_chan; c++) {
                const unsigned to = (i * CONFIG_T::out_width + j) * CONFIG_T::n_chan + c;
                if (inside)
                    res[to] = data[((i - CONFIG_T::above) * CONFIG_T::in_width + j - CONFIG_T::before) *
                                       CONFIG_T::n_chan + c];
                else
                    res[to] = value[c % CONFIG_T::n_values];
            }
        }
    }
}

template <class data_T, class res_T, typename CONFIG_T>
void pad(hls::stream<data_T> &data, hls::stream<res_T> &res,
         typename CONFIG_T::value_t value[CONFIG_T::n_values]) {
    for (unsigned i = 0; i < CONFIG_T::out_height; i++) {
        for (unsigned j = 0; j < CONFIG_T::out_width; j++) {
            #pragma HLS PIPELINE
            const bool inside = i >= CONFIG_T::above && i < CONFIG_T::above + CONFIG_T::in_height &&
                                j >= CONFIG_T::before && j < CONFIG_T::before + CONFIG_T::in_width;
            res_T pixel;
            PRAGMA_DATA_PACK(pixel)

            if (inside) {
                data_T values = data.read();
                for (unsigned c = 0; c < CONFIG_T::n_chan; c++) {
                    #pragma HLS UNROLL
                    pixel[c] = values[c];
                }
            } else {
                for (unsigned c = 0; c < CONFIG_T::n_chan; c++) {
                    #pragma HLS UNROLL
                    pixel[c] = value[c % CONFIG_T::n_values];
                }
            }
            res.write(pixel);
        }
    }
}

} // namespace keras_sbn

#endif
