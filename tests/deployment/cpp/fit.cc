// Runs FitImage on the images that come on standard input: width, height, target width, target height and
// channels as text, a line break, then the bytes.

#include <iostream>

#include "preprocessing.h"

int main() {
  int count = 0;
  std::cin >> count;
  while (count-- > 0) {
    int width = 0, height = 0, target_width = 0, target_height = 0, channels = 0;
    std::cin >> width >> height >> target_width >> target_height >> channels;
    std::cin.get();
    std::vector<uint8_t> rgb(static_cast<size_t>(3) * width * height);
    std::cin.read(reinterpret_cast<char*>(rgb.data()), static_cast<std::streamsize>(rgb.size()));
    const auto image = keras_sbn::FitImage(rgb, width, height, target_width, target_height, channels);
    std::cout.write(reinterpret_cast<const char*>(image.data()), static_cast<std::streamsize>(image.size()));
  }
}
