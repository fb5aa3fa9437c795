// Stacks that one operating-system thread switches between: the threads of an emulated block. A switch saves what a
// call would: 10 to 20 ns. AddressSanitizer is told of every switch, and has larger frames.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace vivace::emulation {

class Fiber {
 public:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr size_t stack_bytes = 256 * 1024;
#else
  static constexpr size_t stack_bytes = 64 * 1024;
#endif

  Fiber() : stack_(new std::byte[stack_bytes]) {}
  // The next resume() calls entry(argument), which begins with entered() and must not return but leave for good through
  // suspend().
  void prepare(void (*entry)(void*), void* argument);
  // From the scheduler into the fiber, until it suspends.
  void resume() {
    leaves(&scheduler_frames_, stack_.get(), stack_bytes);
    switch_stack(&scheduler_, own_);
    arrives(scheduler_frames_);
  }
  void entered() {
    arrives_from_scheduler(nullptr);
  }
  // From the fiber back to the scheduler.
  void suspend() {
    leaves(&own_frames_, scheduler_stack_, scheduler_bytes_);
    switch_stack(&own_, scheduler_);
    arrives_from_scheduler(own_frames_);
  }
  // Whether a value at this address lies on the stack.
  bool owns(const void* address) const {
    const auto* byte = static_cast<const std::byte*>(address);
    return byte >= stack_.get() && byte < stack_.get() + stack_bytes;
  }

 private:
  static void switch_stack(void** from, void* to);
#if defined(__SANITIZE_ADDRESS__)
  static void leaves(void** frames, const void* stack, size_t bytes) {
    __sanitizer_start_switch_fiber(frames, stack, bytes);
  }
  static void arrives(void* frames) {
    __sanitizer_finish_switch_fiber(frames, nullptr, nullptr);
  }
  void arrives_from_scheduler(void* frames) {
    __sanitizer_finish_switch_fiber(frames, &scheduler_stack_, &scheduler_bytes_);
  }
#else
  static void leaves(void**, const void*, size_t) {}
  static void arrives(void*) {}
  void arrives_from_scheduler(void*) {}
#endif
  std::unique_ptr<std::byte[]> stack_;
  void* own_ = nullptr;
  void* scheduler_ = nullptr;
  // For AddressSanitizer: its own frames of both sides, and where the scheduler's stack is.
  void *own_frames_ = nullptr, *scheduler_frames_ = nullptr;
  const void* scheduler_stack_ = nullptr;
  size_t scheduler_bytes_ = 0;
};

}  // namespace vivace::emulation
