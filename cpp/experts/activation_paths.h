// Predictions from whole texts (MoE-Infinity, arXiv 2401.14361): the stored text whose use of experts so far is most
// like that of the current one says what comes. Until one is stored, the current one does.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace vivace {

class ActivationPaths {
 public:
  ActivationPaths(int layers, int experts) : layers_(layers), experts_(experts), current_(size()) {}

  // A text begins; the one before it is stored, in place of the oldest if there are too many.
  void begin();
  void observe(int layer, const std::vector<int32_t>& counts);
  // How often each expert of the layer was used in the most similar text; but for the `most` most used, 0.
  std::vector<int32_t> predict(int layer, int most) const;

 private:
  static constexpr size_t stored_most = 32;
  size_t size() const { return static_cast<size_t>(layers_) * static_cast<size_t>(experts_); }
  double similarity(const std::vector<float>& other) const;
  int layers_, experts_;
  std::vector<float> current_;  // [layers, experts]
  std::vector<std::vector<float>> stored_;
};

}  // namespace vivace
