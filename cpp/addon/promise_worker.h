// Work off the JavaScript thread that a promise tells of: what it throws is the error that the promise rejects with.
#pragma once
#include <string>

#include "addon/error_wrap.h"

namespace vivace {

class PromiseWorker : public Napi::AsyncWorker {
 public:
  explicit PromiseWorker(Napi::Env env) : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)) {}
  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  // Off the JavaScript thread.
  virtual void work() = 0;
  // On it, afterwards: what the promise resolves with, and what is to be done before it rejects.
  virtual Napi::Value result() = 0;
  virtual void failed() {}

 private:
  void Execute() final {
    try {
      work();
    } catch (const Error& error) {
      code_ = error.code();
      remedy_ = error.remedy();
      SetError(error.what());
    } catch (const std::bad_alloc&) {
      code_ = "OUT_OF_MEMORY";
      remedy_ = "Close other programs.";
      SetError("The system has no memory left for this operation");
    } catch (const std::exception& error) {
      code_ = "INTERNAL";
      SetError(error.what());
    }
  }
  void OnOK() final { deferred_.Resolve(result()); }
  void OnError(const Napi::Error& error) final {
    failed();
    deferred_.Reject(to_napi(Env(), code_.c_str(), error.Message().c_str(), remedy_.c_str()).Value());
  }

  Napi::Promise::Deferred deferred_;
  std::string code_, remedy_;
};

}  // namespace vivace
