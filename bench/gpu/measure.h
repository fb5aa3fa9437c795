// What benches on a card share: clocks, the rate of a copy, and bars: what was reached, of what limit, and what is
// aimed at.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "cuda/core/launch.h"
#include "cuda/core/memory.h"

namespace vivace::cuda {

// With `--tiny` everything is so small that emulation runs it: to see that a bench works, not to measure.
inline bool tiny = false;
template <class T>
T sized(T full, T small) {
  return tiny ? small : full;
}

// Seconds of one call, the median of nine turns after one that warms up; call(i) has its number in the turn.
template <class Call>
double seconds_of(int calls, Call&& call) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin), "cudaEventCreate");
  check(cudaEventCreate(&end), "cudaEventCreate");
  std::vector<double> all;
  for (int turn = 0; turn < sized(10, 2); ++turn) {
    check(cudaEventRecord(begin, nullptr), "cudaEventRecord");
    for (int i = 0; i < calls; ++i) call(i);
    check(cudaEventRecord(end, nullptr), "cudaEventRecord");
    check(cudaEventSynchronize(end), "cudaEventSynchronize");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end), "cudaEventElapsedTime");
    if (turn > 0) all.push_back(milliseconds / 1000.0 / calls);
  }
  check(cudaEventDestroy(begin), "cudaEventDestroy");
  check(cudaEventDestroy(end), "cudaEventDestroy");
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

// A template, so that every bench may have it.
template <class Word>
__global__ void copy_memory(const Word* from, Word* to, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) to[i] = from[i];
}

// Bytes per second, read and written, of a copy from one half of this memory to the other.
inline double copy_rate(std::byte* memory, int64_t bytes, int multiprocessors) {
  const int64_t half = bytes / 2;
  return static_cast<double>(bytes) / seconds_of(4, [&](int) {
           launch<copy_memory<uint4>>(Launch{dim3(static_cast<unsigned>(multiprocessors * 16)), dim3(512)},
                                      reinterpret_cast<const uint4*>(memory), reinterpret_cast<uint4*>(memory + half),
                                      half / 16);
         });
}

// A line for people and one of JSON for scripts/gpu/bench.mjs. `ratio` is what the bar is about.
inline void print_bar(const std::string& what, double achieved, double limit, const char* unit, double ratio,
                      double bar, bool at_least) {
  const bool met = at_least ? ratio >= bar : ratio <= bar;
  std::printf("%-66s %9.2f, %s %.2f: %s\n", what.c_str(), ratio, at_least ? "at least" : "at most", bar,
              met ? "yes" : "no");
  std::printf(
      "BAR {\"what\":\"%s\",\"unit\":\"%s\",\"achieved\":%.6g,\"limit\":%.6g,\"ratio\":%.4g,\"%s\":%.4g,\"met\":%s}\n",
      what.c_str(), unit, achieved, limit, ratio, at_least ? "atLeast" : "atMost", bar, met ? "true" : "false");
}

// How many times as fast something is as something else: what was measured, what bytes or operations alone allow, the
// share of that, and what is wanted. Papers compare with slower software, so more may be wanted than is allowed.
inline void print_speedup(const std::string& what, double achieved, double limit, double wanted) {
  std::printf("%-66s %9.2f of %.2f times as fast, wanted %.2f: %s\n", what.c_str(), achieved, limit, wanted,
              achieved >= wanted ? "yes" : "no");
  std::printf(
      "BAR {\"what\":\"%s\",\"unit\":\"times as fast\",\"achieved\":%.6g,\"limit\":%.6g,\"ratio\":%.4g,"
      "\"wanted\":%.4g,\"met\":%s}\n",
      what.c_str(), achieved, limit, achieved / limit, wanted, achieved >= wanted ? "true" : "false");
}

// What is compared with PyTorch, or is a limit for others, has no bar here.
inline void print_figure(const std::string& what, double value, const char* unit) {
  std::printf("FIGURE {\"what\":\"%s\",\"unit\":\"%s\",\"value\":%.6g}\n", what.c_str(), unit, value);
}

// The body of a bench's main: words of the command line, errors in a line. A word that is no option names one of the
// program's benches: only those that are named run.
inline std::vector<std::string> named;
inline bool is_wanted(const std::string& name) {
  return named.empty() || std::find(named.begin(), named.end(), name) != named.end();
}
template <class Run>
int run_bench(int count, char** words, Run&& run) {
  try {
    bool flag = false;
    for (int i = 1; i < count; ++i) {
      tiny = tiny || std::strcmp(words[i], "--tiny") == 0;
      flag = flag || std::strcmp(words[i], "--choose") == 0;
      if (words[i][0] != '-') named.push_back(words[i]);
    }
    run(flag);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}

}  // namespace vivace::cuda
