// class DatastoreBuilder for JavaScript: texts become the bytes of a datastore.
#pragma once
#include <napi.h>

namespace vivace {

// Sets `exports.DatastoreBuilder`.
void init_datastore_builder(Napi::Env env, Napi::Object exports);

}  // namespace vivace
