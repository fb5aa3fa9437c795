// Opens a shared library at run time and finds names in it.
#pragma once
#include <string>

namespace vivace {

// The library's handle, which is never closed; null, with `why`, when the system cannot open it.
void* open_library(const std::string& path, std::string& why);
void* find_symbol(void* library, const char* name);

}  // namespace vivace
