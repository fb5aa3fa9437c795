// Body of kv_write, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/attention/kv_write.h"

#include <cstring>

#include "caches/paged_kv.h"
#include "core/simd.h"

namespace vivace::VIVACE_ISA {
namespace {

void write_f16(const float* in, int64_t count, std::byte* out) {
  uint16_t* halves = reinterpret_cast<uint16_t*>(out);
  for_lanes(count, [&](int64_t i, int n) {
    if (n == F32::lanes)
      store_f16(halves + i, load(in + i));
    else
      store_f16_partial(halves + i, load_partial(in + i, n), n);
  });
}

void write_q8_0(const float* in, int64_t count, std::byte* out) {
  for (int64_t from = 0; from < count; from += 32, out += 34) {
    F32 largest = zero(), strange = zero();
    for_lanes(32, [&](int64_t i, int) {
      const F32 v = load(in + from + i);
      largest = max(largest, abs(v));
      strange += v * zero();  // NaN if v is NaN or infinite
    });
    const float d = max_of(largest) / 127.0f + sum(strange);
    const float inverse = d >= 0x1p-126f ? 1.0f / d : 0.0f;  // a smaller d is 0 as F16; a NaN compares false
    uint16_t scale[F32::lanes];
    store_f16(scale, set1(d));
    if (d != d) scale[0] = 0x7e00;  // the sign of a NaN differs between processors
    std::memcpy(out, scale, 2);
    int8_t codes[32];
    for (int i = 0; i < 32; ++i) {
      const float x = inverse == 0.0f ? 0.0f : in[from + i] * inverse;
      codes[i] = static_cast<int8_t>(static_cast<int>(x + (x < 0.0f ? -0.5f : 0.5f)));
    }
    std::memcpy(out + 2, codes, 32);
  }
}

void write_q4_0(const float* in, int64_t count, std::byte* out) {
  for (int64_t from = 0; from < count; from += 32, out += 18, in += 32) {
    F32 largest = zero(), strange = zero();
    for_lanes(32, [&](int64_t i, int) {
      const F32 v = load(in + i);
      largest = max(largest, abs(v));
      strange += v * zero();  // NaN if v is NaN or infinite
    });
    const float size = max_of(largest);
    float extreme = 0.0f;
    for (int i = 0; i < 32 && size > 0.0f; ++i)
      if (in[i] == size || in[i] == -size) {
        extreme = in[i];
        break;
      }
    const float broken = sum(strange);
    const float d = broken == broken ? extreme / -8.0f : broken;  // adding it would take the sign of a zero
    const float inverse = d >= 0x1p-126f || d <= -0x1p-126f ? 1.0f / d : 0.0f;  // smaller: 0 as F16; NaN: neither
    uint16_t scale[F32::lanes];
    store_f16(scale, set1(d));
    if (d != d) scale[0] = 0x7e00;  // the sign of a NaN differs between processors
    std::memcpy(out, scale, 2);
    uint8_t codes[32];
    for (int i = 0; i < 32; ++i) {
      const float x = inverse == 0.0f ? 0.0f : in[i] * inverse;
      const int code = static_cast<int>(x + 8.5f);
      codes[i] = static_cast<uint8_t>(code < 15 ? code : 15);
    }
    for (int i = 0; i < 16; ++i) out[2 + i] = static_cast<std::byte>(codes[i] | codes[i + 16] << 4);
  }
}

// Keys of a full page, [32, dim] halves: 32 tokens of a channel become a block of 20 bytes.
void quantise_channels(const std::byte* page, int64_t dim, std::byte* out) {
  constexpr int tokens = 32, lanes = F32::lanes;
  const uint16_t* keys = reinterpret_cast<const uint16_t*>(page);
  for (int64_t from = 0; from < dim; from += lanes) {
    F32 low = load_f16(keys + from), high = low, strange = zero();
    for (int t = 0; t < tokens; ++t) {
      const F32 x = load_f16(keys + t * dim + from);
      low = min(low, x);
      high = max(high, x);
      strange += x * zero();  // NaN if x is NaN or infinite
    }
    float steps[lanes], minima[lanes], broken[lanes], inverses[lanes], ratios[tokens][lanes];
    uint16_t halves[lanes];
    store_f16(halves, (high - low) / set1(15.0f));
    store(steps, load_f16(halves));
    store(minima, low);
    store(broken, strange);
    for (int k = 0; k < lanes; ++k) {
      if (broken[k] != broken[k]) halves[k] = 0x7e00, steps[k] = minima[k] = 0.0f;
      inverses[k] = steps[k] > 0.0f ? 1.0f / steps[k] : 0.0f;
    }
    const F32 base = load(minima), inverse = load(inverses);
    for (int t = 0; t < tokens; ++t) store(ratios[t], (load_f16(keys + t * dim + from) - base) * inverse + set1(0.5f));
    uint16_t bases[lanes];
    store_f16(bases, base);
    for (int k = 0; k < lanes; ++k, out += 20) {
      std::memcpy(out, halves + k, 2);
      std::memcpy(out + 2, bases + k, 2);
      const auto code = [&](int t) {
        const float ratio = broken[k] != broken[k] ? 0.0f : ratios[t][k];
        return ratio < 15.0f ? static_cast<int>(ratio) : 15;
      };
      for (int t = 0; t < 16; ++t) out[4 + t] = static_cast<std::byte>(code(t) | code(t + 16) << 4);
    }
  }
}

void write_row(DType dtype, const float* in, int64_t count, std::byte* out) {
  if (dtype == DType::F32)
    std::memcpy(out, in, sizeof(float) * static_cast<size_t>(count));
  else if (dtype == DType::F16)
    write_f16(in, count, out);
  else if (dtype == DType::Q4_0)
    write_q4_0(in, count, out);
  else
    write_q8_0(in, count, out);
}

}  // namespace

void kv_write(const OpRun& run, Team& team) {
  const Tensor &k = run.inputs[0], &v = run.inputs[1];
  const Batch& batch = *run.batch;
  const PagedKvOptions& options = run.kv->options();
  const int layer = static_cast<int>(run.attributes[0]);
  const int repeated = options.kv_heads / static_cast<int>(k.columns / options.key_dim);
  int64_t begin, end;
  team.range(k.rows * options.kv_heads, 1, begin, end);
  for (int64_t item = begin; item < end; ++item) {
    const int64_t row = item / options.kv_heads;
    const int head = static_cast<int>(item % options.kv_heads);
    const int page = batch.cells[row] / options.page_size, slot = batch.cells[row] % options.page_size;
    const int sequence = batch.sequences[row];
    const int source = head / repeated;
    const float* key = k.row<const float>(row) + source * options.key_dim;
    if (run.kv->by_channel())
      write_f16(key, options.key_dim,
                run.kv->exact_keys(sequence, page, layer, head) + slot * options.key_dim * int64_t{sizeof(uint16_t)});
    else
      write_row(options.key_dtype, key, options.key_dim,
                run.kv->keys(sequence, page, layer, head) + slot * run.kv->key_row_bytes());
    write_row(options.value_dtype, v.row<const float>(row) + source * options.value_dim, options.value_dim,
              run.kv->values(sequence, page, layer, head) + slot * run.kv->value_row_bytes());
    run.kv->label(sequence, batch.cells[row], layer, head);
  }
  if (!run.kv->by_channel()) return;
  team.barrier();
  for (int64_t item = team.thread(); item < k.rows * options.kv_heads; item += team.threads()) {
    const int64_t row = item / options.kv_heads;
    const int head = static_cast<int>(item % options.kv_heads), page = batch.cells[row] / options.page_size;
    if (batch.cells[row] % options.page_size + 1 < options.page_size) continue;
    const int sequence = batch.sequences[row];
    quantise_channels(run.kv->exact_keys(sequence, page, layer, head), options.key_dim,
                      run.kv->keys(sequence, page, layer, head));
  }
}

}  // namespace vivace::VIVACE_ISA
