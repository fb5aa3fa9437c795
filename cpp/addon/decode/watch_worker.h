// Long work off the JavaScript thread with a small array that both sides see: [0] thousandths done, [1] not 0: give up.
#pragma once
#include <atomic>
#include <functional>
#include <utility>

#include "addon/promise_worker.h"
#include "decode/draft/datastore/suffix_array.h"

namespace vivace {

// A promise that resolves when `work` is done. `state` has two elements, which JavaScript uses with Atomics.
inline Napi::Value watched(Napi::Env env, Napi::Int32Array state, std::function<void(const Watch&)> work) {
  class Worker final : public PromiseWorker {
   public:
    Worker(Napi::Env env, Napi::Int32Array state, std::function<void(const Watch&)> work)
        : PromiseWorker(env),
          kept_(Napi::Persistent(static_cast<Napi::Object>(state))),
          state_(reinterpret_cast<std::atomic<int32_t>*>(state.Data())),
          work_(std::move(work)) {}

   protected:
    void work() override { work_(Watch(state_, state_ + 1)); }
    Napi::Value result() override { return Env().Undefined(); }

   private:
    Napi::ObjectReference kept_;
    std::atomic<int32_t>* state_;
    std::function<void(const Watch&)> work_;
  };
  if (state.ElementLength() != 2) throw Error("INVALID_ARGUMENT", "Expected two numbers for `state`");
  auto* worker = new Worker(env, state, std::move(work));
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace vivace
