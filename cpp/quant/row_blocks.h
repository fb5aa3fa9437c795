// Turns functions on one block into functions on a row, for the table of formats.
#pragma once
#include "quant/registry.h"

namespace vivace {

template <class Block, int width, void (*quantize)(const float*, Block&)>
void quantize_blocks(const float* values, std::byte* blocks, int64_t columns) {
  Block* block = reinterpret_cast<Block*>(blocks);
  for (int64_t start = 0; start < columns; start += width) quantize(values + start, *block++);
}

template <class Block, int width, void (*dequantize)(const Block&, float*)>
void dequantize_blocks(const std::byte* blocks, float* values, int64_t columns) {
  const Block* block = reinterpret_cast<const Block*>(blocks);
  for (int64_t start = 0; start < columns; start += width) dequantize(*block++, values + start);
}

template <class Block, int width, void (*quantize)(const float*, Block&), void (*dequantize)(const Block&, float*)>
constexpr QuantType block_type(DType dtype) {
  return {dtype, quantize_blocks<Block, width, quantize>, dequantize_blocks<Block, width, dequantize>};
}

}  // namespace vivace
