#include "cuda/caches/device_caches.h"

#include <cstring>

namespace vivace::cuda {
namespace {

DeviceKv divided_as(const VivaceDeviceCache& cache) {
  DeviceKv kv;
  kv.layers = cache.layers;
  kv.kv_heads = cache.kv_heads;
  kv.key_dim = cache.key_dim;
  kv.value_dim = cache.value_dim;
  kv.page_size = cache.page_size;
  kv.key_dtype = static_cast<DType>(cache.key_dtype);
  kv.value_dtype = static_cast<DType>(cache.value_dtype);
  kv.key_row = cache.key_row;
  kv.value_row = cache.value_row;
  kv.value_offset = cache.value_offset;
  kv.layer = cache.layer;
  kv.groups = cache.groups;
  kv.angles = cache.angles;
  const VivaceDeviceLabels& labels = cache.labels;
  kv.labels.channels = labels.channels;
  kv.labels.bits = labels.bits;
  kv.labels.sets = labels.sets;
  kv.labels.tokens = labels.tokens;
  kv.labels.share = labels.share;
  kv.labels.threshold = labels.threshold;
  kv.labels.recent = labels.recent;
  kv.labels.sinks = labels.sinks;
  kv.labels.grouped = labels.grouped != 0;
  kv.labels.bytes = labels.bytes;
  return kv;
}

// Structs of the table have no padding.
template <class T>
bool same(const std::vector<T>& known, const T* given, size_t count) {
  return known.size() == count && (count == 0 || std::memcmp(known.data(), given, count * sizeof(T)) == 0);
}

template <class T>
std::vector<T> copy_of(const T* given, size_t count) {
  return given == nullptr ? std::vector<T>() : std::vector<T>(given, given + count);
}

size_t places_of(const VivaceDeviceCache& cache) {
  return cache.places == nullptr ? 0 : static_cast<size_t>(cache.layers) * static_cast<size_t>(cache.kv_heads);
}
size_t patterns_of(const VivaceDeviceCache& cache) {
  return cache.patterns == nullptr ? 0 : static_cast<size_t>(cache.layers);
}
size_t offsets_of(const VivaceDeviceCache& cache) {
  return cache.labels.channels == 0 ? 0 : static_cast<size_t>(cache.layers);
}
size_t channels_of(const VivaceDeviceCache& cache) {
  return offsets_of(cache) * static_cast<size_t>(cache.labels.sets) * static_cast<size_t>(cache.labels.channels);
}
size_t angles_of(const VivaceDeviceCache& cache) {
  return cache.sink_angles == nullptr ? 0 : static_cast<size_t>(cache.sinks) * static_cast<size_t>(cache.angles);
}

}  // namespace

bool DeviceCaches::Kind::is(const VivaceDeviceCache& cache) const {
  DeviceKv own = kv;
  own.places = nullptr;
  own.patterns = nullptr;
  own.sink_angles = nullptr;
  own.labels.offsets = nullptr;
  own.labels.table = nullptr;
  return own == divided_as(cache) && same(places, cache.places, places_of(cache)) &&
         same(patterns, cache.patterns, patterns_of(cache)) && same(sink_angles, cache.sink_angles, angles_of(cache)) &&
         same(label_offsets, cache.labels.offsets, offsets_of(cache)) &&
         same(label_table, cache.labels.table, channels_of(cache));
}

size_t DeviceCaches::find(const VivaceDeviceCache& cache) {
  for (size_t i = 0; i < kinds_.size(); ++i)
    if (kinds_[i]->is(cache)) return i;
  auto made = std::make_unique<Kind>();
  made->kv = divided_as(cache);
  made->places = copy_of(cache.places, places_of(cache));
  made->patterns = copy_of(cache.patterns, patterns_of(cache));
  made->sink_angles = copy_of(cache.sink_angles, angles_of(cache));
  made->label_offsets = copy_of(cache.labels.offsets, offsets_of(cache));
  made->label_table = copy_of(cache.labels.table, channels_of(cache));
  const size_t channels = made->label_table.size() * 4;
  const size_t places = made->places.size() * sizeof(VivaceDevicePlace), angles = made->sink_angles.size() * 4;
  if (places + angles + channels > 0) made->on_card.reserve(static_cast<int64_t>(places + angles + channels));
  std::byte* card = made->on_card.data();
  const auto send = [&](size_t at, const void* from, size_t bytes) {
    if (bytes > 0) check(cudaMemcpy(card + at, from, bytes, cudaMemcpyHostToDevice), "cudaMemcpy");
  };
  send(0, made->places.data(), places);
  send(places, made->sink_angles.data(), angles);
  send(places + angles, made->label_table.data(), channels);
  if (channels > 0) {
    made->kv.labels.offsets = made->label_offsets.data();
    made->kv.labels.table = reinterpret_cast<const int32_t*>(card + places + angles);
  }
  if (places > 0) made->kv.places = reinterpret_cast<const VivaceDevicePlace*>(card);
  if (angles > 0) made->kv.sink_angles = reinterpret_cast<const float*>(card + places);
  if (!made->patterns.empty()) made->kv.patterns = made->patterns.data();
  kinds_.push_back(std::move(made));
  return kinds_.size() - 1;
}

int64_t DeviceCaches::bytes() const {
  int64_t all = 0;
  for (const auto& kind : kinds_) all += kind->on_card.size();
  return all;
}

}  // namespace vivace::cuda
