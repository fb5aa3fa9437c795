#include "decode/draft/drafter.h"

#include <string>

#include "core/error.h"

namespace vivace {

void append_text(std::vector<int32_t>& text, const int32_t* tokens, int64_t count) {
  if (count > Drafter::max_text - static_cast<int64_t>(text.size()))
    throw Error("CONTEXT_FULL", "A drafter's text has at most " + std::to_string(Drafter::max_text) + " tokens");
  text.insert(text.end(), tokens, tokens + count);
}

}  // namespace vivace
