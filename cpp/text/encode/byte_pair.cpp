#include "text/encode/byte_pair.h"

#include <algorithm>
#include <bit>
#include <string_view>
#include <unordered_map>

#include "core/error.h"
#include "text/encode/cached_pieces.h"
#include "text/encode/pair_merger.h"
#include "text/encode/word_marks.h"
#include "text/tables/alphabet.h"
#include "text/tables/byte_index.h"
#include "text/tables/merge_table.h"

namespace vivace {
namespace {

constexpr int32_t unknown_symbol = -1;  // merges with nothing

class BytePair final : public TokenizerEngine {
 public:
  BytePair(Vocabulary vocabulary, const BytePairOptions& options)
      : vocabulary_(std::move(vocabulary)),
        options_(options),
        words_(options.rule == nullptr && !joins_words(vocabulary_)) {
    // Byte-level: all tokens, as they are spelled. Which of them are text is seen when they are emitted.
    index_.build(vocabulary_.arena(), [&](uint32_t id) { return options_.alphabet || vocabulary_.is_text(id); });
    find_byte_symbols();
    read_merges();
    options_.merges = {};
  }

  void encode(TextSpan text, TextPlace place, uint32_t offset, TokenSink& out) override {
    if (text.size == 0) return;
    ends_.clear();
    if (place.whole || (options_.rule == nullptr && !words_)) {
      ends_.push_back(text.size);
    } else if (words_) {
      split_at_marks(text.bytes, text.size, ends_);
    } else {
      pre_split(*options_.rule, text.bytes, 0, text.size, ends_, spare_);
    }
    encode_pieces(cache_, text, 0, ends_, out, [&](const uint8_t* at, uint32_t length, uint32_t begin) {
      encode_piece(at, length, offset + begin, out);
    });
    if (ends_.capacity() > kept) ends_ = {};
    if (spare_.capacity() > kept) spare_ = {};
  }

 private:
  static constexpr size_t kept = 1 << 18;

  void encode_piece(const uint8_t* at, uint32_t length, uint32_t offset, TokenSink& out) {
    if (options_.ignore_merges) {
      const int32_t whole = find_whole(at, length);
      if (whole >= 0 && vocabulary_.is_text(whole)) {
        out.push(whole, offset + length);
        return;
      }
    }
    merger_.nodes.clear();
    if (options_.alphabet) {
      for (uint32_t i = 0; i < length; ++i) merger_.nodes.push_back({byte_symbols_[at[i]], i, i + 1, 0, 0, 0, 0});
    } else {
      place_characters(at, length);
    }
    merger_.run([this](const MergeNode& left, const MergeNode& right, uint32_t& rank, int32_t& merged) {
      if (const MergeTable::Slot* pair = merges_.find(left.symbol, right.symbol)) {
        rank = pair->rank;
        merged = pair->merged;
      }
    });
    const uint32_t before = out.size();
    bool unknown = false;
    for (int32_t i = 0; i >= 0; i = merger_.nodes[i].next) {
      const MergeNode& node = merger_.nodes[i];
      if (node.symbol != unknown_symbol) {
        emit(node.symbol, offset + node.start, offset + node.end, out);
      } else if (options_.unknown >= 0 && !(unknown && options_.fuse_unknown)) {
        out.push(options_.unknown, offset + node.end);
      } else if (unknown && options_.fuse_unknown) {
        out.extend(before, offset + node.end);
      }
      unknown = node.symbol == unknown_symbol;
    }
    out.extend(before, offset + length);
    merger_.shrink();
  }

  // The token that stands for these bytes as a whole, of whatever type, or -1.
  int32_t find_whole(const uint8_t* at, uint32_t length) const {
    if (length > index_.longest()) return -1;
    if (!options_.alphabet) return index_.find(at, length);
    uint8_t spelled[256];
    if (length > sizeof spelled / 2) {
      std::string text;
      uint8_t pair[2];
      for (uint32_t i = 0; i < length; ++i) text.append(pair, spell_byte(at[i], pair));
      return index_.find(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    }
    uint8_t* end = spelled;
    for (uint32_t i = 0; i < length; ++i) end = spell_byte(at[i], end);
    return index_.find(spelled, static_cast<size_t>(end - spelled));
  }

  void place_characters(const uint8_t* at, uint32_t length) {
    for (uint32_t i = 0; i < length;) {
      const uint32_t end = i + character_width(at[i], length - i);
      const int32_t whole = index_.find(at + i, end - i);
      if (whole >= 0) {
        merger_.nodes.push_back({whole, i, end, 0, 0, 0, 0});
      } else if (std::all_of(at + i, at + end, [&](uint8_t byte) { return byte_symbols_[byte] >= 0; })) {
        for (uint32_t j = i; j < end; ++j) merger_.nodes.push_back({byte_symbols_[at[j]], j, j + 1, 0, 0, 0, 0});
      } else {
        merger_.nodes.push_back({unknown_symbol, i, end, 0, 0, 0, 0});
      }
      i = end;
    }
  }

  // A symbol that is no token becomes its single bytes; bytes without a token are dropped, as llama.cpp does.
  void emit(int32_t symbol, uint32_t start, uint32_t end, TokenSink& out) {
    const bool token = is_token(symbol);
    if (token && (vocabulary_.is_text(symbol) || vocabulary_.has(symbol, TokenType::byte))) {
      out.push(symbol, end);
      return;
    }
    for (const char byte : bytes_of(symbol)) {
      ++start;
      const int32_t single = byte_symbols_[static_cast<uint8_t>(byte)];
      if (single >= 0 && single != symbol && is_token(single) && vocabulary_.is_text(single))
        out.push(single, std::min(start, end));
    }
  }

  bool is_token(int32_t symbol) const { return static_cast<uint32_t>(symbol) < vocabulary_.size(); }

  std::string bytes_of(int32_t symbol) const {
    const StringArena tokens = vocabulary_.arena();
    const auto id = static_cast<uint32_t>(symbol);
    if (!is_token(symbol)) {
      const std::string& spelled = strangers_[id - vocabulary_.size()];
      if (!options_.alphabet) return spelled;
      return read_spelled(reinterpret_cast<const uint8_t*>(spelled.data()), static_cast<uint32_t>(spelled.size()));
    }
    if (options_.alphabet) return read_spelled(tokens.begin(id), tokens.length(id));
    return {reinterpret_cast<const char*>(tokens.begin(id)), tokens.length(id)};
  }

  void find_byte_symbols() {
    if (options_.alphabet) {
      for (int byte = 0; byte < 256; ++byte) {
        uint8_t spelled[16];
        const auto length = static_cast<uint32_t>(spell_byte(static_cast<uint8_t>(byte), spelled) - spelled);
        byte_symbols_[byte] = symbol_of(spelled, length, key_of_bytes(spelled, length));
      }
      return;
    }
    std::fill(byte_symbols_, byte_symbols_ + 256, -1);
    if (options_.byte_fallback) find_byte_tokens(vocabulary_, byte_symbols_);
  }

  // Merges may name symbols that the vocabulary lacks: these get ids from the vocabulary's size on.
  int32_t symbol_of(const uint8_t* at, uint32_t length, const ByteKey& key) {
    const int32_t id = index_.find(at, length, key);
    return id >= 0 ? id : stranger({reinterpret_cast<const char*>(at), length});
  }

  int32_t stranger(const std::string& name) {
    const auto next = static_cast<int32_t>(vocabulary_.size() + strangers_.size());
    const auto [entry, added] = stranger_ids_.emplace(name, next);
    if (added) strangers_.push_back(name);
    return entry->second;
  }

  // A merge being read: its halves, and where they stand side by side if that is longer than a key.
  struct Merge {
    const uint8_t* left;
    uint32_t left_length, right_length;
    size_t joined_at;
    ByteKey left_key, right_key, joined_key;
    const uint8_t* right() const { return left + left_length + 1; }
  };

  // In blocks, so that the slots of the index and of the table come from memory while other merges are worked on.
  void read_merges() {
    const MergeTexts& merges = options_.merges;
    merges_.reserve(merges.count);
    constexpr uint32_t block = 64;
    Merge parts[block];
    MergeTable::Slot entries[block];
    std::vector<uint8_t> joined;
    StringList list(merges.bytes, merges.size);
    for (uint32_t from = 0; from < merges.count; from += block) {
      const uint32_t until = std::min(from + block, merges.count);
      joined.clear();
      uint32_t count = 0;
      for (uint32_t i = from; i < until; ++i) {
        const uint8_t* at;
        size_t length;
        if (merges.offsets != nullptr) {
          at = merges.bytes + merges.offsets[i];
          length = merges.offsets[i + 1] - merges.offsets[i];
        } else if (!list.next(&at, &length, UINT32_MAX)) {
          throw Error("FORMAT_INVALID", "The merges of the tokenizer do not lie in their bytes");
        }
        if (!read_merge(at, static_cast<uint32_t>(length), parts[count], joined)) continue;
        index_.prefetch(parts[count].left_key);
        index_.prefetch(parts[count].right_key);
        index_.prefetch(parts[count].joined_key);
        entries[count++].rank = i;
      }
      for (uint32_t i = 0; i < count; ++i) {
        const Merge& part = parts[i];
        MergeTable::Slot& entry = entries[i];
        const int32_t left = symbol_of(part.left, part.left_length, part.left_key);
        entry.left_and_1 = left + 1;
        entry.right = symbol_of(part.right(), part.right_length, part.right_key);
        entry.merged = joined_symbol(part, joined);
        merges_.prefetch(left, entry.right);
      }
      for (uint32_t i = 0; i < count; ++i) merges_.add(entries[i]);
    }
  }

  // Cuts a merge into its halves; false where it has none.
  bool read_merge(const uint8_t* at, uint32_t length, Merge& part, std::vector<uint8_t>& joined) const {
    const uint32_t cut = find_separator(at, length);
    if (cut + 1 >= length) return false;
    part.left = at;
    part.left_length = cut;
    part.right_length = length - cut - 1;
    const bool open = static_cast<size_t>(options_.merges.bytes + options_.merges.size - at) >= length + size_t{16};
    part.left_key = open ? open_key(at, cut) : key_of_bytes(at, cut);
    part.right_key = open ? open_key(part.right(), part.right_length) : key_of_bytes(part.right(), part.right_length);
    if (length - 1 <= ByteKey::whole) {
      part.joined_key = join_keys(part.left_key, part.right_key);
    } else {
      part.joined_at = joined.size();
      joined.insert(joined.end(), at, at + cut);
      joined.insert(joined.end(), part.right(), part.right() + part.right_length);
      part.joined_key = long_key(joined.data() + part.joined_at, length - 1);
    }
    return true;
  }

  // The first separator behind the first byte, or the length; 8 bytes at a time.
  uint32_t find_separator(const uint8_t* at, uint32_t length) const {
    constexpr uint64_t ones = 0x0101010101010101ull;
    uint32_t cut = 1;
    for (; cut + 8 <= length; cut += 8) {
      const uint64_t other = load_8(at + cut) ^ ones * options_.separator;
      const uint64_t zero = (other - ones) & ~other & ones << 7;
      if (zero != 0) return cut + static_cast<uint32_t>(std::countr_zero(zero)) / 8;
    }
    while (cut < length && at[cut] != options_.separator) ++cut;
    return cut;
  }

  int32_t joined_symbol(const Merge& part, const std::vector<uint8_t>& joined) {
    const uint32_t length = part.left_length + part.right_length;
    if (!part.joined_key.is_whole()) return symbol_of(joined.data() + part.joined_at, length, part.joined_key);
    const int32_t id = index_.find(nullptr, length, part.joined_key);
    if (id >= 0) return id;
    std::string name(reinterpret_cast<const char*>(part.left), part.left_length);
    return stranger(name.append(reinterpret_cast<const char*>(part.right()), part.right_length));
  }

  const Vocabulary vocabulary_;
  BytePairOptions options_;
  const bool words_;  // cut at U+2581
  ByteIndex index_;
  int32_t byte_symbols_[256];
  MergeTable merges_;
  std::vector<std::string> strangers_;
  std::unordered_map<std::string, int32_t> stranger_ids_;
  PairMerger merger_;
  PieceCache cache_;
  std::vector<uint32_t> ends_, spare_;
};

}  // namespace

std::unique_ptr<TokenizerEngine> make_byte_pair(Vocabulary vocabulary, const BytePairOptions& options) {
  return std::make_unique<BytePair>(std::move(vocabulary), options);
}

}  // namespace vivace
