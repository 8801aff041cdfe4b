// From a photograph to the image a model takes, as keras_sbn.deployment.fit_image does, bit for bit: the
// largest piece of the right shape is cut out of the middle, and each pixel of the result is the mean of
// what it covers, rounded half up, all in integer arithmetic.

#ifndef KERAS_SBN_PREPROCESSING_H_
#define KERAS_SBN_PREPROCESSING_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace keras_sbn {

// `rgb` has three bytes a pixel, row by row. With one channel the result is the grey of red, green, blue.
inline std::vector<uint8_t> FitImage(const std::vector<uint8_t>& rgb, int64_t width, int64_t height,
                                     int64_t target_width, int64_t target_height, int channels) {
  const bool wide = width * target_height > height * target_width;
  const int64_t cut_width =
      wide ? std::max<int64_t>(height * target_width / target_height, 1) : width;
  const int64_t cut_height =
      wide ? height : std::max<int64_t>(width * target_height / target_width, 1);
  const int64_t left = (width - cut_width) / 2, top = (height - cut_height) / 2;
  const int64_t total = cut_width * cut_height;
  // In units of 1 / (target size) of a source pixel, source pixel r covers [r * target, (r + 1) * target)
  // and target pixel i covers [i * source, (i + 1) * source).
  const auto overlap = [](int64_t index, int64_t target, int64_t begin, int64_t end) {
    return std::min(index * target + target, end) - std::max(index * target, begin);
  };
  std::vector<uint8_t> result;
  result.reserve(static_cast<size_t>(target_height * target_width * channels));
  for (int64_t i = 0; i < target_height; ++i) {
    const int64_t above = i * cut_height, below = above + cut_height;
    for (int64_t j = 0; j < target_width; ++j) {
      const int64_t before = j * cut_width, after = before + cut_width;
      int64_t sums[3] = {0, 0, 0};
      for (int64_t row = above / target_height; row <= (below - 1) / target_height; ++row) {
        const int64_t weight = overlap(row, target_height, above, below);
        for (int64_t column = before / target_width; column <= (after - 1) / target_width; ++column) {
          const int64_t share = weight * overlap(column, target_width, before, after);
          const uint8_t* pixel = &rgb[static_cast<size_t>(3 * ((top + row) * width + left + column))];
          for (int c = 0; c < 3; ++c) sums[c] += share * pixel[c];
        }
      }
      int64_t means[3];
      for (int c = 0; c < 3; ++c) means[c] = (2 * sums[c] + total) / (2 * total);
      if (channels == 1) {
        const int64_t grey = (299 * means[0] + 587 * means[1] + 114 * means[2] + 500) / 1000;
        result.push_back(static_cast<uint8_t>(grey));
      } else {
        for (int c = 0; c < 3; ++c) result.push_back(static_cast<uint8_t>(means[c]));
      }
    }
  }
  return result;
}

}  // namespace keras_sbn

#endif  // KERAS_SBN_PREPROCESSING_H_
