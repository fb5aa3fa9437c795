// A tree of tokens that a model drafts, level by level: which rows it computes next, which children their logits give,
// and which nodes are the draft in the end. Level 0 is the root, the text's last token.
//
// Children are chosen or drawn. Chosen ones are a row's most probable tokens, best first, and the tree grows as in
// EAGLE-2 (Li et al. 2024, section 4): of a level's nodes the `width` most probable paths get children, and in the end
// the `nodes` most probable paths are the draft, of equals the earlier one. Drawn ones are drawn from the sampler's law
// without replacement and put on record. How many a row draws must not depend on what it draws, and all of them must be
// verified, or the law of what is verified changes; so drawn trees have a fixed shape, and chosen ones may.
#pragma once
#include <cstdint>
#include <vector>

#include "decode/draft/drafter.h"
#include "decode/sample.h"
#include "decode/verify/proposal.h"

namespace vivace {

struct TreeShape {
  int32_t depth = 1;  // tokens on a path at most
  int32_t nodes = 1;  // of the draft at most
  int32_t top_k = 1;  // children of a row
  int32_t width = 1;  // rows of a level at most
  float least = 0;    // no level whose paths are together less probable than this
  // A fixed shape instead of all of these: the parent of each node, before it, -1: the root. The children of a node
  // are, in this order, its first, second, … token.
  std::vector<int32_t> parents;
  std::vector<float> scores;  // of a fixed shape's nodes, or empty: paths have the model's probability
};

// No member is called by two threads at a time.
class GrowingTree {
 public:
  // `sampler` knows the text up to and with the root; it is as before after each call. `proposal`: null, or where drawn
  // children are recorded.
  GrowingTree(TreeShape shape, Sampler* sampler, Proposal* proposal, uint64_t cycle);

  struct Node {
    int32_t token, parent, depth;  // -1: the root; the root's children have depth 1
    int32_t row;                   // ordinal among the rows computed after the root's; -1: none
    int32_t place;                 // in the fixed shape
    double score;                  // ln of the path's probability
  };
  const std::vector<Node>& nodes() const { return nodes_; }
  // Nodes whose rows are computed next, ascending; -1: the root. Empty: the tree has grown.
  const std::vector<int32_t>& level() const { return level_; }
  // Nodes that have rows, by ordinal; those of level() are the last ones.
  const std::vector<int32_t>& rows() const { return rows_; }
  // `logits` of the level's rows, [level, vocab], as before when it returns.
  void take(float* logits, int64_t vocab);
  // The whole tree by one row of logits per level, [levels, vocab]: heads that each say one token further on, whatever
  // stands before it. Nothing is computed behind the root.
  void take_all(float* logits, int64_t vocab, int64_t levels);
  const TreeShape& shape() const { return shape_; }
  // For devices that rank and draw by themselves: what a row of the level wants,
  struct Wanted {
    int32_t node, children;
    std::vector<int32_t> path;  // the tokens below the root, which the sampler takes for text
    uint64_t lane;              // of the first child's random number, where they are drawn; the others' follow
  };
  std::vector<Wanted> wanted() const;
  Sampler& sampler() const { return *sampler_; }
  Proposal* proposal() const { return proposal_; }
  // and, instead of logits, the children that each row got, with log-probabilities, or its error. Laws that they were
  // drawn from are where the proposal's are.
  void take(const std::vector<std::vector<TokenLogprob>>& children, const std::vector<SampleError>& errors);
  // The next level cannot be computed.
  void stop();
  // Why the root has no law; errors below it end the tree where they are.
  SampleError error() const { return error_; }
  // The draft, and per node the ordinal of its row.
  void finish(Draft& out, std::vector<int32_t>& rows) const;

 private:
  bool fixed() const { return !shape_.parents.empty(); }
  size_t children_of(int32_t node) const;
  std::vector<int32_t> path_to(int32_t node) const;
  // `ranks`: how many tokens are looked for; 0: those of the call before are the node's, too.
  void expand(int32_t node, float* logits, int64_t vocab, size_t ranks);
  SampleError know(float* logits, int64_t vocab, size_t ranks);
  void bear(int32_t node, size_t count);
  void draw(size_t count, std::vector<int32_t>& drawn);
  void add(int32_t node, size_t ordinal, int32_t token, double logprob);
  void next_level(size_t first_new);
  bool better(int32_t a, int32_t b) const;
  std::vector<int32_t> best_nodes() const;

  TreeShape shape_;
  Sampler* sampler_;
  Proposal* proposal_;
  uint64_t cycle_;
  std::vector<std::vector<int32_t>> places_;  // fixed shape: children of the root, then of each place
  std::vector<Node> nodes_;
  std::vector<int32_t> level_ = {-1}, rows_;
  SampleError error_ = SampleError::none;
  uint64_t draws_ = 0;  // random numbers that belong to children of earlier rows
  // Of the row that is looked at: why it has no law; its most probable tokens, or its law.
  SampleError row_error_ = SampleError::none;
  std::vector<TokenLogprob> best_;
  Law law_;
};

}  // namespace vivace
