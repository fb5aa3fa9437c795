// A law of which another one is taken away, step by step: what is left when a drafted token was refused.
#pragma once
#include <cstdint>
#include <vector>

#include "decode/law.h"

namespace vivace {

class Residual {
 public:
  // Starts from a law; the view must stay valid.
  explicit Residual(const Law& law) : law_(law) {}

  double probability(int32_t token) const;
  // norm(max(scale · this − other, 0)); where nothing would be left, this stays as it is. Tokens of `without` have no
  // probability in `other`, which is as large without them.
  void subtract(const Law& other, const std::vector<int32_t>& without = {}, double scale = 1);
  // `uniform` in [0, 1) of the mass, by ascending tokens.
  int32_t draw(double uniform) const;

 private:
  Law law_;
  std::vector<double> values_;  // [law_.count], empty: nothing was taken away
  double total_ = 0;
};

// What max(scale · law − other, 0) sums to.
double excess(const Law& law, const Law& other, double scale);

// Ways to say how far two laws are from each other, in nats.
enum class Measure : int32_t {
  of_law,         // Σ law · ln(law / other)
  of_other,       // Σ other · ln(other / law)
  jensen_shannon  // half the sum of both laws' divergences from their mean
};

// Infinite where the first law of the measure has a token that the second one does not.
double divergence(const Law& law, const Law& other, Measure measure);

}  // namespace vivace
