// Expert stores as JavaScript describes them and asks them (NativeExperts and NativeExpertStatistics of lib/native).
#pragma once
#include <napi.h>

#include <memory>

namespace vivace {

class ExpertStore;

// Null for undefined. Throws INTERNAL and FILE_*.
std::shared_ptr<ExpertStore> read_experts(const Napi::Value& given);
Napi::Value report_experts(Napi::Env env, const ExpertStore* store);

}  // namespace vivace
