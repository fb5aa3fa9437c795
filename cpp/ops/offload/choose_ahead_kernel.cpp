// Body of choose_ahead, compiled once per instruction-set level; VIVACE_ISA is the level's namespace.
#include "ops/offload/choose_ahead.h"

#include "ops/attention/sparse/sparse_rows.h"

namespace vivace::VIVACE_ISA {

void choose_ahead(const OpRun& run, Team& team) {
  const int layer = static_cast<int>(run.attributes[0]), heads = static_cast<int>(run.attributes[1]);
  const PagedKvOptions& options = run.kv->options();
  if (!options.offload.ahead || run.kv->offloaded() == nullptr || run.kv->offloaded_layer(layer) < 0) return;
  LayerPattern pattern;
  pattern.window = static_cast<int>(run.attributes[2]);
  const AttentionScratch parts(run.inputs[0].rows, heads, options.key_dim, options.value_dim, team.threads());
  const Call call = {*run.batch,
                     *run.kv,
                     run.inputs[0],
                     run.inputs[0],
                     parts,
                     layer,
                     heads,
                     options.kv_heads,
                     heads / options.kv_heads,
                     pattern,
                     options.key_dim,
                     options.value_dim,
                     1.0f,
                     0.0f};
  SparseRows(call, run.kv->scratch(), team).fetch_ahead();
}

}  // namespace vivace::VIVACE_ISA
