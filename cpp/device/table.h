// The one border between the addon and the library that drives NVIDIA cards: a table of C functions and plain structs.
// The addon has no CUDA in it and the library none of Node's; either is replaced without the other as long as the
// version is the same. Functions return 0, or 1 with *error filled. None of them aborts or throws.
#pragma once
#include <stdint.h>

#define VIVACE_DEVICE_TABLE_VERSION 10

typedef struct VivaceDeviceError {
  char code[32];  // the words of lib/errors.ts
  char message[512];
  char remedy[256];
} VivaceDeviceError;

typedef struct VivaceDeviceInfo {
  char name[128];
  int32_t major, minor;  // compute capability
  int32_t multiprocessors;
  int64_t memory, memory_free;  // bytes
  char unusable[192];           // why it cannot be used, empty: it can
} VivaceDeviceInfo;

// Values, calls and outputs as in program/program.h, after fusion: kinds are 0 input, 1 weight, 2 constant, 3 computed;
// rows may be -1 (one per token) or -2 (one per output). Names and memory must stay until program_load has ended.
typedef struct VivaceDeviceValue {
  const char* name;
  int32_t dtype, kind;
  int64_t rows, columns;
  const void* data;  // host memory of a weight or constant
} VivaceDeviceValue;

typedef struct VivaceDeviceCall {
  const char* op;
  const int32_t* inputs;  // -1: absent
  const int32_t* outputs;
  const double* attributes;
  int32_t input_count, output_count, attribute_count;
} VivaceDeviceCall;

typedef struct VivaceDeviceProgram {
  const VivaceDeviceValue* values;
  const VivaceDeviceCall* calls;
  const int32_t* outputs;
  int32_t value_count, call_count, output_count;
} VivaceDeviceProgram;

// Where the keys and values of one layer's head begin in a page of its group (caches/page_groups.h).
typedef struct VivaceDevicePlace {
  int64_t key, value;
  int32_t group;
  int32_t first_pages;  // of a text, which are never skipped
} VivaceDevicePlace;

// What rows of a layer see (LayerPattern of caches/cache_policy.h), and how their queries are turned for sinks that the
// window has left: by `turned` pairs, whose cosines begin at `turn` in a row of angles; 0: not at all.
typedef struct VivaceDevicePattern {
  int32_t sinks, window, block, local, stride, head_step, head_offset, dense_heads, always_first;
  int32_t turn, turned;
} VivaceDevicePattern;

// Labels by which rows choose what they attend to (caches/labels/labels.h); no channels: there are none.
typedef struct VivaceDeviceLabels {
  int32_t channels, bits, sets, tokens, share, threshold, recent, sinks, grouped;
  int64_t bytes;           // of one set in a page
  const int64_t* offsets;  // [layers] in a page, -1: the layer has none
  const int32_t* table;    // [layers, sets, channels]
} VivaceDeviceLabels;

// A prompt that is compressed when its last rows have been computed (caches/compaction.h).
typedef struct VivaceDevicePrompt {
  int32_t sequence;  // as rows number it
  int32_t cells, kept, prefix, voters, spans;
  int32_t group;  // query heads per KV head, at most
  int32_t kernel, pooling, aggregation, keep_first;
  const int32_t* rows;  // [voters]
  void* const* pages;   // that what stays moves to
} VivaceDevicePrompt;

// How a page of the cache is divided (caches/paged_kv.h); sizes and offsets in bytes.
typedef struct VivaceDeviceCache {
  int32_t layers, kv_heads, key_dim, value_dim, page_size;
  int32_t key_dtype, value_dtype;
  int64_t key_row, value_row, value_offset, layer;
  // Under a policy that keeps different cells of different layers or heads; null: pages have all, divided as above.
  int32_t groups;                       // at least 1
  const VivaceDevicePlace* places;      // [layers, kv_heads]
  const VivaceDevicePattern* patterns;  // [layers]
  const float* sink_angles;  // [sinks, angles] what takes the key of a sink back to position 0; null: keys stay
  int32_t sinks, angles;
  VivaceDeviceLabels labels;
} VivaceDeviceCache;

// The rows of a run, as in program/batch.h; sequences are numbered 0, 1, 2 … within the run.
typedef struct VivaceDeviceBatch {
  const VivaceDeviceCache* cache;
  const int32_t* sequences;        // [rows]
  const int32_t* positions;        // [rows]
  const int32_t* cells;            // [rows]
  const int32_t* first_cells;      // [rows]
  const int32_t* visible;          // [rows]
  const int32_t* added_offsets;    // [rows]
  const int32_t* added_positions;  // [added]
  const uint64_t* tree_mask;       // [rows, tree_words], null: chains
  const uint8_t* drafted;  // [rows] 1: part of a draft, so with the bits of a token that comes alone; null: none
  void* const* pages;      // [sequence_count, groups, page_stride] device addresses
  // [sequence_count, groups] so many pages behind the first ones that every table of the group has are in none; null:
  // 0.
  const int32_t* skipped;
  const float* angles;  // [rows, angles of the cache] what turns queries for sinks; null: none
  int32_t tree_words, added, sequence_count, page_stride;
  const int32_t* output_rows;         // [output_count] ascending
  const VivaceDevicePrompt* prompts;  // [prompt_count]
  int32_t output_count, prompt_count;
} VivaceDeviceBatch;

// Cells behind a sequence's first_cell that masks of a batch may speak of at least, however few rows it has: levels of
// a tree speak of those before them.
#define VIVACE_TREE_CELLS 512

typedef struct VivaceDeviceBinding {
  int32_t value;
  void* data;  // host memory, [actual rows, columns]
} VivaceDeviceBinding;

// How an output's token is drawn: the options of decode/sample.h, and what the text so far has to do with it.
typedef struct VivaceDeviceDraw {
  int32_t how;    // one of VivaceDeviceDrawHow
  int32_t vocab;  // tokens at or beyond it are never drawn
  int64_t top_k;  // 0: off
  double temperature, top_p, min_p, typical_p;
  double repetition_penalty, presence_penalty, frequency_penalty;
  uint64_t seed, index, lane;  // of the random number
  const int32_t* bias_tokens;
  const float* biases;    // [bias_count]
  const int32_t* seen;    // tokens that penalties touch
  const uint32_t* times;  // [seen_count] how often each was generated
  int32_t bias_count, seen_count;
  // Tokens whose bit is set may be drawn, token t being bit t % 32 of word t / 32, [vocab / 32 rounded up]; null: all.
  const uint32_t* allowed;
  int32_t top;       // how many of the most probable tokens are wanted, at most `vocab`
  int32_t ranked;    // 1: those after bias, penalties and bans, at temperature 1; 0: those of the row as it is
  void* laws;        // of laws_create, of this device: where to keep what the token is drawn from; null: nowhere
  int32_t law_node;  // under this number
  // So many tokens are drawn from it without replacement, by random numbers of lanes `lane`, `lane` + 1, …: they are
  // what VivaceDeviceChoice.top gives, with log-probabilities under that law, −1 where it has no more. Without `top`.
  int32_t children;
} VivaceDeviceDraw;

typedef enum VivaceDeviceDrawHow {
  VIVACE_DRAW_NONE,  // nobody draws
  VIVACE_DRAW_HERE,  // the card
  VIVACE_DRAW_HOST,  // the host: it gets the row of logits
} VivaceDeviceDrawHow;

// The law that a row's children in a draft were drawn from: weights over ascending token ids, none negative, and what
// was drawn from it, in this order. Or the number under which a run that is over has kept it.
typedef struct VivaceDeviceLaw {
  const void* laws;  // null: the lists below
  int32_t node;
  const int32_t* ids;
  const float* weights;  // [count]
  const int32_t* drawn;  // [drawn_count]
  double total;          // of the weights
  int32_t count, drawn_count;
} VivaceDeviceLaw;

// A linear head on a value of the program, [rows, width] in F32: what it says of a walk's row is about row `first_row`
// + the row's place.
typedef struct VivaceDeviceJudge {
  const float* weights;  // [width], null: no judge
  int32_t width;
  float bias;
  double bound;            // scores above it are right
  const int32_t* guarded;  // [walk rows], not 0: only the rule may keep the row
  int32_t longest;         // so many rows in a row that only the judge keeps; 0: any number
  int32_t value, first_row;
} VivaceDeviceJudge;

// A draft that the card verifies by a rule of decode/verify/verify.h; `match` alone wants no walk. Outputs [output,
// output + rows), the root first, every parent before its children. The card draws at all of them, each draw being
// described as if the text had come to its row. A draft that is read twice has as many outputs more as readings: the
// first of a row is drawn from as the row itself is, the others are not.
typedef struct VivaceDeviceWalk {
  const int32_t* tokens;
  const int32_t* parents;  // as places in the walk, -1 for the root
  const VivaceDeviceLaw*
      laws;        // [rows]; by `ratio`, where nothing was drawn, a child stays that is what the card draws
  uint64_t cycle;  // of the sequence's drafts
  int32_t output, rows;
  int32_t replacement;      // 1: a row's children were drawn with replacement
  int32_t rule;             // VerifyRule; `block`: every row has one child but the last, and a law
  double first, second;     // its options
  const int32_t* readings;  // [reading_count] output `output` + `rows` + i is a second reading of this row
  int32_t reading_count;
  int32_t corrects;  // 1: what follows a refused token comes from the mixture, too
  double alpha;      // weight of the second readings' mean in the mixture, above 0
  VivaceDeviceJudge judge;
} VivaceDeviceWalk;

typedef struct VivaceDeviceTop {
  int32_t token;
  float logprob;
} VivaceDeviceTop;

typedef enum VivaceDeviceMark {
  VIVACE_MARK_JUDGED = 1,   // only the judge keeps the token
  VIVACE_MARK_CHANGED = 2,  // the second reading's most probable token is another one
} VivaceDeviceMark;

typedef struct VivaceDeviceChoice {
  int32_t token;               // -1 where error is not 0, the card does not draw, or a walk does not come
  float logprob;               // natural, under softmax of the row as the model gave it
  int32_t error;               // SampleError of decode/sample.h
  int32_t marks;               // VivaceDeviceMark, of rows that a walk comes to
  float* logits;               // where the host draws: the row, until the program's next but one start
  const VivaceDeviceTop* top;  // [as many as were wanted] the most probable first, or the children; as long
} VivaceDeviceChoice;

typedef struct VivaceDeviceRun {
  int64_t rows, outputs;
  const VivaceDeviceBinding* bindings;  // of every input, and of the outputs that are wanted elsewhere
  int32_t binding_count;
  int32_t logits;                 // the value that tokens are drawn from
  int32_t levels;                 // so many rows of logits lie side by side in a row of it: each is drawn from
  const VivaceDeviceDraw* draws;  // [outputs · levels], null: none
  const VivaceDeviceWalk* walks;  // [walk_count] no output is in two of them
  int32_t walk_count;
  // An input, or -1: row i of it is the token that the run before draws for output i, whatever is bound to it. So the
  // run may start before that one was finished: two are the most, and it has no bindings of outputs.
  int32_t fed;
  const VivaceDeviceBatch* batch;  // null: none
  double* call_seconds;            // [calls + 1], the last one for draws; null: not measured
} VivaceDeviceRun;

typedef struct VivaceDeviceStrip {
  void* to;
  const void* from;
  int64_t bytes;
} VivaceDeviceStrip;

typedef struct VivaceDeviceMemory {
  int64_t weights, arena, buffers;  // bytes on the card; weights that are not there yet included
  int64_t round;                    // of the arena, what a round of 512 rows and 64 outputs takes
  int64_t sent, received;           // bytes copied to it and from it so far
  double busy;                      // seconds between starts and ends of finished runs there
} VivaceDeviceMemory;

typedef struct VivaceDeviceTable {
  uint32_t version, size;  // of this struct: VIVACE_DEVICE_TABLE_VERSION, sizeof
  const char* build;       // what it was built with and for

  // Fills at most `capacity` devices; *count is how many there are.
  int (*devices)(VivaceDeviceInfo* out, int32_t capacity, int32_t* count, VivaceDeviceError* error);

  // Checks and plans; says OUT_OF_MEMORY with figures before anything is moved. Weights whose host memory another
  // program, `base`, has moved to the same device are not moved again; null: none. `base` may be destroyed first.
  int (*program_create)(int32_t device, const VivaceDeviceProgram* program, void* base, void** out,
                        VivaceDeviceError* error);
  // Moves the next `bytes` of weights, or what goes in a twentieth of a second; *done is the share of all, 1 at the
  // end. A run needs all of them.
  int (*program_load)(void* program, int64_t bytes, double* done, VivaceDeviceError* error);
  // Each is ended by program_finish, in their order, and a run that is not `fed` starts when all are. What the run
  // points to is copied, except for the memory of bindings of outputs, which is written by program_finish.
  int (*program_start)(void* program, const VivaceDeviceRun* run, VivaceDeviceError* error);
  // Waits for the first run that is not finished; fills its choices [outputs · levels], unless it has no draws.
  int (*program_finish)(void* program, VivaceDeviceChoice* choices, VivaceDeviceError* error);
  void (*program_memory)(void* program, VivaceDeviceMemory* out);
  void (*program_destroy)(void* program);

  // Room for laws that runs keep, for one sequence's drafts. laws_read gives the law under a number: fills at most
  // `capacity` ids and weights; *count is how many there are, 0: none.
  int (*laws_create)(int32_t device, void** out, VivaceDeviceError* error);
  int (*laws_read)(void* laws, int32_t node, int32_t* ids, float* weights, int32_t capacity, int32_t* count,
                   VivaceDeviceError* error);
  void (*laws_destroy)(void* laws);

  // Memory for pages. page_map gives null in *out when the card has no more. Moves are over when they return.
  int (*pages_create)(int32_t device, int64_t page_bytes, void** out, VivaceDeviceError* error);
  int (*page_map)(void* pages, void** out, VivaceDeviceError* error);
  void (*page_unmap)(void* pages, void* page);
  int (*pages_copy)(void* pages, const VivaceDeviceStrip* strips, int64_t count, VivaceDeviceError* error);
  int (*pages_read)(void* pages, const VivaceDeviceStrip* strips, int64_t count, VivaceDeviceError* error);
  int (*pages_write)(void* pages, const VivaceDeviceStrip* strips, int64_t count, VivaceDeviceError* error);
  void (*pages_destroy)(void* pages);

  // Names of the kernels that ran in this process, a line each; only emulation keeps a list. Writes at most `capacity`
  // bytes with the final zero; returns how many it takes.
  int32_t (*kernels)(char* out, int32_t capacity);
} VivaceDeviceTable;

#define VIVACE_DEVICE_ENTRY "vivace_device_table"
typedef const VivaceDeviceTable* (*VivaceDeviceEntry)(void);
