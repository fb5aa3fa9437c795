#include "decode/draft/adapt/distil.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace vivace {
namespace {

constexpr double least = 1e-8;  // of a probability whose logarithm is taken

// The softmax of z over the tokens that `in` says, into q, 0 elsewhere.
template <class In>
void softmax(const std::vector<float>& z, In in, std::vector<float>& q) {
  float most = -INFINITY;
  for (size_t v = 0; v < z.size(); ++v)
    if (in(v)) most = std::max(most, z[v]);
  double total = 0;
  for (size_t v = 0; v < z.size(); ++v) total += q[v] = in(v) ? std::exp(z[v] - most) : 0.0f;
  const float scale = static_cast<float>(1 / total);
  for (float& value : q) value *= scale;
}

// What a class of probability q contributes to the loss where it should be p, and its share of the gradient's slope.
struct Slope {
  double loss, slope;
};
Slope slope_of(DistilLoss kind, double q, double p) {
  p = std::max(p, least);
  q = std::max(q, 1e-30);
  if (kind == DistilLoss::reverse_kl) return {q * std::log(q / p), std::log(q / p)};
  if (kind == DistilLoss::kl) return {p * std::log(p / q), -p / q};
  return {std::abs(q - p) / 2, q > p ? 0.5 : q < p ? -0.5 : 0.0};
}

// The loss of a row's law; adds scale · its gradient by z to dz. ∂q_c/∂z_d = q_d ([d in c] − q_c), so that the gradient
// is q_d (slope of d's class − Σ q_c slope_c).
double law_loss(const DistilBatch& batch, int64_t row, const std::vector<float>& z, double scale, std::vector<float>& q,
                std::vector<float>& dz) {
  softmax(
      z, [&](size_t v) { return batch.mapped[v] != 0; }, q);
  const int32_t begin = batch.starts[row], end = batch.starts[row + 1];
  double others = 1, left = 1, loss = 0, mean = 0;
  const auto add = [&](double own, double wanted) {
    const Slope found = slope_of(batch.loss, own, wanted);
    loss += found.loss;
    mean += own * found.slope;
    return found.slope;
  };
  std::vector<float> slopes(static_cast<size_t>(end - begin));
  for (int32_t i = begin; i < end; ++i) {
    const double own = q[static_cast<size_t>(batch.ids[i])];
    slopes[static_cast<size_t>(i - begin)] = static_cast<float>(add(own, batch.laws[i]));
    others -= own;
    left -= batch.laws[i];
  }
  // Less than rounding leaves is a class without tokens.
  const double rest = others > 1e-6 ? add(others, left) : 0;
  for (size_t v = 0; v < q.size(); ++v) dz[v] += static_cast<float>(scale * q[v] * (rest - mean));
  for (int32_t i = begin; i < end; ++i) {
    const size_t v = static_cast<size_t>(batch.ids[i]);
    dz[v] += static_cast<float>(scale * q[v] * (slopes[static_cast<size_t>(i - begin)] - rest));
  }
  return loss;
}

double label_loss(size_t label, const std::vector<float>& z, double scale, std::vector<float>& q,
                  std::vector<float>& dz) {
  softmax(
      z, [](size_t) { return true; }, q);
  for (size_t v = 0; v < q.size(); ++v) dz[v] += static_cast<float>(scale * q[v]);
  dz[label] -= static_cast<float>(scale);
  return -std::log(std::max(static_cast<double>(q[label]), 1e-30));
}

double squared(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return sum;
}

}  // namespace

DistilLosses distil_gradient(const DistilBatch& batch, const float* a, const float* b, std::vector<float>& ga,
                             std::vector<float>& gb, const std::function<void()>& check) {
  const auto [rows, width, vocab, rank] = std::tuple(batch.rows, batch.width, batch.vocab, batch.rank);
  ga.assign(static_cast<size_t>(rank * width), 0.0f);
  gb.assign(static_cast<size_t>(vocab * rank), 0.0f);
  int64_t laws = 0, labels = 0;
  for (int64_t row = 0; row < rows; ++row) {
    laws += batch.starts[row + 1] > batch.starts[row];
    labels += batch.labels[row] >= 0;
  }
  const size_t size = static_cast<size_t>(vocab);
  std::vector<float> u(static_cast<size_t>(rank)), du(u.size()), z(size), q(size), dz(size);
  DistilLosses losses;
  for (int64_t row = 0; row < rows; ++row) {
    check();
    const float* hidden = batch.hidden + row * width;
    const float* logits = batch.logits + row * vocab;
    for (int64_t k = 0; k < rank; ++k) {
      float sum = 0;
      for (int64_t j = 0; j < width; ++j) sum += a[k * width + j] * hidden[j];
      u[static_cast<size_t>(k)] = sum;
    }
    for (int64_t v = 0; v < vocab; ++v) {
      float sum = logits[v];
      for (int64_t k = 0; k < rank; ++k) sum += b[v * rank + k] * u[static_cast<size_t>(k)];
      z[static_cast<size_t>(v)] = sum;
    }
    std::fill(dz.begin(), dz.end(), 0.0f);
    if (batch.starts[row + 1] > batch.starts[row])
      losses.law += law_loss(batch, row, z, 1.0 / static_cast<double>(laws), q, dz) / static_cast<double>(laws);
    if (batch.labels[row] >= 0) {
      const double weight = batch.weights[row] / static_cast<double>(labels);
      losses.label += weight * label_loss(static_cast<size_t>(batch.labels[row]), z, batch.lambda * weight, q, dz);
    }
    std::fill(du.begin(), du.end(), 0.0f);
    for (int64_t v = 0; v < vocab; ++v) {
      const float slope = dz[static_cast<size_t>(v)];
      if (slope == 0) continue;
      for (int64_t k = 0; k < rank; ++k) {
        gb[static_cast<size_t>(v * rank + k)] += slope * u[static_cast<size_t>(k)];
        du[static_cast<size_t>(k)] += slope * b[v * rank + k];
      }
    }
    for (int64_t k = 0; k < rank; ++k)
      for (int64_t j = 0; j < width; ++j)
        ga[static_cast<size_t>(k * width + j)] += du[static_cast<size_t>(k)] * hidden[j];
  }
  losses.norm = std::sqrt(squared(ga) + squared(gb));
  return losses;
}

void adamw(const AdamW& how, double scale, const std::vector<float>& gradient, float* values, float* moments) {
  const size_t size = gradient.size();
  const double first = 1 - std::pow(how.beta1, static_cast<double>(how.step));
  const double second = 1 - std::pow(how.beta2, static_cast<double>(how.step));
  for (size_t i = 0; i < size; ++i) {
    const double slope = scale * gradient[i];
    const double mean = how.beta1 * moments[i] + (1 - how.beta1) * slope;
    const double square = how.beta2 * moments[size + i] + (1 - how.beta2) * slope * slope;
    moments[i] = static_cast<float>(mean);
    moments[size + i] = static_cast<float>(square);
    const double step = mean / first / (std::sqrt(square / second) + how.epsilon);
    values[i] = static_cast<float>(values[i] - how.rate * (step + how.decay * values[i]));
  }
}

DistilLosses distil(const DistilBatch& batch, const AdamW& how, float* a, float* b, float* moments_a, float* moments_b,
                    const std::function<void()>& check) {
  std::vector<float> ga, gb;
  const DistilLosses losses = distil_gradient(batch, a, b, ga, gb, check);
  if (!std::isfinite(losses.law + losses.label + losses.norm)) return losses;
  const double scale = losses.norm > how.clip ? how.clip / losses.norm : 1;
  adamw(how, scale, ga, a, moments_a);
  adamw(how, scale, gb, b, moments_b);
  return losses;
}

}  // namespace vivace
