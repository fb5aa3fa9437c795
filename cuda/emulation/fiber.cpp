// Switching stacks on x86-64 (System V) and AArch64: callee-saved registers are pushed, the stack pointer changes
// hands.
#include "cuda/emulation/fiber.h"

#include <cstdint>
#include <cstring>

extern "C" void vivace_switch_stack(void** from, void* to);
extern "C" void vivace_start_fiber();

#if defined(__x86_64__)
__asm__(
    ".text\n"
    ".globl vivace_switch_stack\n"
    ".hidden vivace_switch_stack\n"
    ".type vivace_switch_stack,@function\n"
    "vivace_switch_stack:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size vivace_switch_stack,.-vivace_switch_stack\n"
    ".globl vivace_start_fiber\n"
    ".hidden vivace_start_fiber\n"
    ".type vivace_start_fiber,@function\n"
    "vivace_start_fiber:\n"
    "  movq %r13, %rdi\n"
    "  callq *%r12\n"
    "  hlt\n"
    ".size vivace_start_fiber,.-vivace_start_fiber\n");
#elif defined(__aarch64__)
__asm__(
    ".text\n"
    ".globl vivace_switch_stack\n"
    ".hidden vivace_switch_stack\n"
    "vivace_switch_stack:\n"
    "  sub sp, sp, #160\n"
    "  stp x19, x20, [sp, #0]\n  stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n"
    "  stp x25, x26, [sp, #48]\n  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n"
    "  stp d8, d9, [sp, #96]\n  stp d10, d11, [sp, #112]\n  stp d12, d13, [sp, #128]\n  stp d14, d15, [sp, #144]\n"
    "  mov x9, sp\n  str x9, [x0]\n  mov sp, x1\n"
    "  ldp x19, x20, [sp, #0]\n  ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n"
    "  ldp x25, x26, [sp, #48]\n  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n"
    "  ldp d8, d9, [sp, #96]\n  ldp d10, d11, [sp, #112]\n  ldp d12, d13, [sp, #128]\n  ldp d14, d15, [sp, #144]\n"
    "  add sp, sp, #160\n"
    "  ret\n"
    ".globl vivace_start_fiber\n"
    ".hidden vivace_start_fiber\n"
    "vivace_start_fiber:\n"
    "  mov x0, x20\n"
    "  blr x19\n"
    "  brk #0\n");
#else
#error "Emulated fibers are written for x86-64 and AArch64"
#endif

namespace vivace::emulation {

void Fiber::switch_stack(void** from, void* to) {
  vivace_switch_stack(from, to);
}

void Fiber::prepare(void (*entry)(void*), void* argument) {
#if defined(__SANITIZE_ADDRESS__)
  // Whoever was here left for good, in the middle of frames.
  __asan_unpoison_memory_region(stack_.get(), stack_bytes);
#endif
  const uintptr_t top = (reinterpret_cast<uintptr_t>(stack_.get()) + stack_bytes) & ~uintptr_t{63};
#if defined(__x86_64__)
  // r15, r14, r13, r12, rbx, rbp, and where to go, which leaves a multiple of 16 for the call there.
  auto* frame = reinterpret_cast<uintptr_t*>(top - 72);
  std::memset(frame, 0, 72);
  frame[2] = reinterpret_cast<uintptr_t>(argument);  // r13
  frame[3] = reinterpret_cast<uintptr_t>(entry);     // r12
  frame[6] = reinterpret_cast<uintptr_t>(&vivace_start_fiber);
#else
  auto* frame = reinterpret_cast<uintptr_t*>(top - 160);
  std::memset(frame, 0, 160);
  frame[0] = reinterpret_cast<uintptr_t>(entry);                 // x19
  frame[1] = reinterpret_cast<uintptr_t>(argument);              // x20
  frame[11] = reinterpret_cast<uintptr_t>(&vivace_start_fiber);  // x30
#endif
  own_ = frame;
}

}  // namespace vivace::emulation
