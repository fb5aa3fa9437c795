// Cuts a text into the pieces that byte-level BPE encodes one by one, by the rules that `tokenizer.ggml.pre` names.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace vivace {

struct SplitRule;

// The rule of this name, or null. Loads the tables of characters.
const SplitRule* find_split_rule(const std::string& name);

// The names of all rules, in the order of the table.
std::vector<std::string> split_rule_names();

// Of the tables of characters.
const char* split_unicode_version();

// Appends the ends of the pieces of text[begin, end), which follow each other without gaps. `spare` is scratch memory.
void pre_split(const SplitRule& rule, const uint8_t* text, uint32_t begin, uint32_t end, std::vector<uint32_t>& ends,
               std::vector<uint32_t>& spare);

}  // namespace vivace
