#include "cuda/caches/page_pool.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"
#include "cuda/caches/copy_strips.h"

namespace vivace::cuda {
namespace {

// cudaMalloc takes 2 MiB at least and some 100 us; slabs of this size make both small.
constexpr int64_t slab_bytes = int64_t{16} << 20;
constexpr int64_t page_alignment = 256;
constexpr int64_t most_staged = int64_t{8} << 20;  // bytes that are moved at a time

}  // namespace

PagePool::PagePool(int device, int64_t page_bytes)
    : device_((check(cudaSetDevice(device), "cudaSetDevice"), device)),
      page_bytes_((page_bytes + page_alignment - 1) / page_alignment * page_alignment),
      slab_pages_(std::max<int64_t>(1, slab_bytes / page_bytes_)) {}

// Smaller ones when the card's memory is nearly full; null when not even a page fits.
std::unique_ptr<PagePool::Slab> PagePool::new_slab() const {
  auto slab = std::make_unique<Slab>();
  int64_t pages = slab_pages_;
  while (slab->memory.data() == nullptr) {
    try {
      slab->memory.reserve(pages * page_bytes_);
    } catch (const Error& error) {
      if (error.code() != "OUT_OF_MEMORY") throw;
      if (pages == 1) return nullptr;
      pages /= 2;
    }
  }
  for (int64_t i = pages - 1; i >= 0; --i) slab->free.push_back(slab->memory.data() + i * page_bytes_);
  return slab;
}

std::byte* PagePool::map() {
  check(cudaSetDevice(device_), "cudaSetDevice");
  Slab* from = nullptr;
  for (const auto& slab : slabs_)
    if (!slab->free.empty()) from = slab.get();
  if (from == nullptr) {
    std::unique_ptr<Slab> slab = new_slab();
    if (slab == nullptr) return nullptr;
    slabs_.push_back(std::move(slab));
    from = slabs_.back().get();
  }
  std::byte* page = from->free.back();
  from->free.pop_back();
  ++from->used;
  return page;
}

void PagePool::unmap(std::byte* page) {
  for (auto slab = slabs_.begin(); slab != slabs_.end(); ++slab) {
    std::byte* begin = (*slab)->memory.data();
    if (page < begin || page >= begin + (*slab)->memory.size()) continue;
    (*slab)->free.push_back(page);
    if (--(*slab)->used == 0) slabs_.erase(slab);
    return;
  }
}

void PagePool::copy(const VivaceDeviceStrip* strips, int64_t count) {
  move(Move::copy, strips, count);
}
void PagePool::read(const VivaceDeviceStrip* strips, int64_t count) {
  move(Move::read, strips, count);
}
void PagePool::write(const VivaceDeviceStrip* strips, int64_t count) {
  move(Move::write, strips, count);
}

void PagePool::move(Move how, const VivaceDeviceStrip* strips, int64_t count) {
  check(cudaSetDevice(device_), "cudaSetDevice");
  std::lock_guard turn(moving_);
  while (count > 0) {
    int64_t some = 0, bytes = 0;
    for (; some < count && (some == 0 || bytes < most_staged); ++some) bytes += strips[some].bytes;
    const int64_t list = (some * static_cast<int64_t>(sizeof(VivaceDeviceStrip)) + 255) / 256 * 256;
    const int64_t staged = how == Move::copy ? 0 : bytes;
    host_.reserve(list + staged);
    card_.reserve(list + staged);
    auto* moved = reinterpret_cast<VivaceDeviceStrip*>(host_.data());
    int64_t at = list;
    for (int64_t i = 0; i < some; ++i) {
      moved[i] = strips[i];
      if (how == Move::read) moved[i].to = card_.data() + at;
      if (how == Move::write) {
        moved[i].from = card_.data() + at;
        std::memcpy(host_.data() + at, strips[i].from, static_cast<size_t>(strips[i].bytes));
      }
      at += strips[i].bytes;
    }
    stream_.copy_to_device(card_.data(), host_.data(), how == Move::write ? list + staged : list);
    copy_strips(reinterpret_cast<const VivaceDeviceStrip*>(card_.data()), some, stream_.get());
    if (how == Move::read) stream_.copy_to_host(host_.data() + list, card_.data() + list, staged);
    stream_.wait();
    at = list;
    if (how == Move::read)
      for (int64_t i = 0; i < some; ++i) {
        std::memcpy(strips[i].to, host_.data() + at, static_cast<size_t>(strips[i].bytes));
        at += strips[i].bytes;
      }
    strips += some;
    count -= some;
  }
}

}  // namespace vivace::cuda
