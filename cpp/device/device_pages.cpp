#include "device/device_pages.h"

#include <map>

#include "core/error.h"

namespace vivace {
namespace {

class DevicePages final : public PageStore {
 public:
  DevicePages(std::shared_ptr<const DeviceLibrary> library, int device)
      : library_(std::move(library)), table_(library_->table()), device_(device) {
    library_->require_device(device);
  }
  ~DevicePages() override {
    for (const auto& [bytes, pool] : pools_) table_.pages_destroy(pool);
  }
  const void* place() const override { return place_of(*library_, device_); }

  std::byte* map(int64_t bytes, int64_t) override {
    VivaceDeviceError error{};
    void*& pool = pools_[bytes];
    if (pool == nullptr) check_device(table_.pages_create(device_, bytes, &pool, &error), error);
    void* page = nullptr;
    check_device(table_.page_map(pool, &page, &error), error);
    if (page == nullptr) throw_out_of_memory(bytes);
    return static_cast<std::byte*>(page);
  }
  void unmap(std::byte* page, int64_t bytes) override { table_.page_unmap(pools_.at(bytes), page); }

  void copy(const std::vector<PageStrip>& strips) override { move(table_.pages_copy, strips); }
  void read(const std::vector<PageStrip>& strips) override { move(table_.pages_read, strips); }
  void write(const std::vector<PageStrip>& strips) override { move(table_.pages_write, strips); }

 private:
  void move(decltype(VivaceDeviceTable::pages_copy) how, const std::vector<PageStrip>& strips) {
    if (strips.empty()) return;
    VivaceDeviceError error{};
    std::vector<VivaceDeviceStrip> list;
    list.reserve(strips.size());
    for (const PageStrip& strip : strips)
      if (strip.bytes > 0) list.push_back({strip.to, strip.from, strip.bytes});
    // Any of them moves bytes of all.
    check_device(how(pools_.begin()->second, list.data(), static_cast<int64_t>(list.size()), &error), error);
  }

  [[noreturn]] void throw_out_of_memory(int64_t bytes) const {
    const VivaceDeviceInfo card = library_->devices()[static_cast<size_t>(device_)];
    throw Error("OUT_OF_MEMORY",
                "KV cache: the graphics card has no memory for another page of " + std::to_string(bytes) + " bytes; " +
                    std::to_string(card.memory_free >> 20) + " of " + std::to_string(card.memory >> 20) +
                    " MiB are free",
                "Use a shorter context, q8_0 keys and values, or fewer sessions, or close other programs on the card.");
  }

  std::shared_ptr<const DeviceLibrary> library_;
  const VivaceDeviceTable& table_;
  int device_;
  std::map<int64_t, void*> pools_;  // by the size of their pages
};

}  // namespace

std::unique_ptr<PageStore> device_pages(std::shared_ptr<const DeviceLibrary> library, int device) {
  return std::make_unique<DevicePages>(std::move(library), device);
}

}  // namespace vivace
