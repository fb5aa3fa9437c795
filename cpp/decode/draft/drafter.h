// A drafter proposes tokens that may follow a text; those of this folder look them up in texts and need no model. One
// that runs a model is in cpp/program/rounds.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

namespace vivace {

struct Proposal;

// A tree of proposed tokens. The root is the text's last token and not in the lists; the children of a node differ.
struct Draft {
  std::vector<int32_t> tokens;
  std::vector<int32_t> parents;  // parents[i] < i; -1: the root
  std::vector<float> scores;     // estimated probability that the path to the node is right, at most its parent's

  int size() const { return static_cast<int>(tokens.size()); }
  void clear() {
    tokens.clear();
    parents.clear();
    scores.clear();
  }
  int add(int32_t token, int parent, double score) {
    tokens.push_back(token);
    parents.push_back(parent);
    scores.push_back(static_cast<float>(score));
    return size() - 1;
  }
};

// Rows behind a draft's, in which nothing is verified and which never stay: what the verifying program finds most
// probable after the last ones is told to the drafter.
struct Probe {
  std::vector<int32_t> tokens;
  std::vector<int32_t> parents;  // places in this list, before each; -1: the draft's root
  int outputs = 0;               // rows at the end that are asked
};

class Drafter;

// Of a draft: how deep it may be, and how many tokens it may have; a chain where these are no more than that.
struct DraftSize {
  int tokens = 0, nodes = 0;
  bool is_tree() const { return nodes > tokens; }
};

// One of the drafts that are made together.
struct DraftAsk {
  Drafter* drafter = nullptr;
  DraftSize most;
  Draft* out = nullptr;
};

// What a draft's length and its random numbers depend on.
struct DraftTerms {
  uint64_t cycle = 1;                          // number of the sequence's draft, above 0
  const std::vector<double>* costs = nullptr;  // [n]: milliseconds of a round of n rows; null or empty: no matter
  double calibration = 1;                      // tokens that are kept per sum of scores
};

// No member is called by two threads at a time. What a drafter knows is a function of the text and of what it was made
// with: after truncate() it drafts as one that never saw the tokens that were cut off.
class Drafter {
 public:
  virtual ~Drafter() = default;
  // Tokens that are in the text now: the prompt first, in one call, then what was kept, in order. Throws CONTEXT_FULL
  // beyond max_text tokens, OUT_OF_MEMORY; after the latter only destruction is allowed.
  virtual void accept(const int32_t* tokens, int64_t count) = 0;
  // What the verifying program knew of the next rows of the text, [rows, width]; before accept() tells of the tokens
  // that came after them. For drafters that read it; the others have a width of 0.
  virtual void hear(const float* /*features*/, int64_t /*rows*/) {}
  virtual int64_t width() const { return 0; }
  // The text is cut to that many tokens; nothing happens when it is no longer than that.
  virtual void truncate(int64_t length) = 0;
  // Replaces `out` by at most max_nodes tokens, none deeper than max_tokens. With max_nodes <= max_tokens it is a
  // chain.
  virtual void draft(int max_tokens, int max_nodes, Draft& out) = 0;
  // Before draft(), for drafters that draw their tokens or that take a while.
  virtual void set_terms(const DraftTerms&) {}
  // What the last draft's tokens were drawn from, row by row; null: they were chosen.
  virtual const Proposal* proposal() const { return nullptr; }
  // Rows that the last draft wants beside it, valid until the next one; null: none. And how many these are at most.
  virtual const Probe* probe() const { return nullptr; }
  virtual int64_t probe_rows() const { return 0; }
  // What they gave, -1: nothing; before accept() tells what was kept. Not called where they found no room.
  virtual void probed(const int32_t* /*tokens*/, int64_t /*count*/) {}
  // Drafters of one group are asked together; null: each by itself.
  virtual const void* group() const { return nullptr; }
  virtual void draft_together(std::vector<DraftAsk>& asks) {
    for (DraftAsk& ask : asks) ask.drafter->draft(ask.most.tokens, ask.most.nodes, *ask.out);
  }
  // Between runs, where memory may be got: the text may grow by `tokens`, with drafts of `most` at a time.
  virtual void prepare(int64_t /*tokens*/, DraftSize /*most*/) {}
  // Whether there is room for such a draft, with the memory that prepare() found.
  virtual bool fits(DraftSize) const { return true; }
  // For drafters that count what became of their drafts. Of each since the last call: the number of nodes that were
  // kept, the root among them; how deep it was, and the microseconds that it took; the rows that it had with the root,
  // and the microseconds until something was said; then of the kept nodes depth, children, and which child was kept,
  // -1: none. Any thread may ask.
  virtual void studied(std::vector<int32_t>& /*out*/) {}
  // Another one for a text that goes on differently. What is shared between texts stays shared.
  virtual std::unique_ptr<Drafter> fork() const = 0;
  // Memory that this drafter alone holds.
  virtual int64_t bytes() const = 0;

  static constexpr int64_t max_text = int64_t{1} << 30;
};

// The text of a drafter. Throws CONTEXT_FULL.
void append_text(std::vector<int32_t>& text, const int32_t* tokens, int64_t count);

}  // namespace vivace
