// Memory straight from the operating system for blocks that must go back to it at once when they are freed: the
// general heap keeps freed blocks of this size.
#pragma once
#include <cstddef>
#include <cstdint>

namespace vivace {

// Blocks of this size and more begin at a huge page and ask for huge pages (3-8 % more read bandwidth).
inline constexpr int64_t huge_block_bytes = int64_t{2} << 20;
// Whether the system has huge pages for those who ask (Linux).
bool has_huge_pages();
// What the system gives and takes at least.
int64_t system_page_bytes();

// `bytes` of zeroed memory, aligned to the system's page; null when there is none.
std::byte* map_memory(int64_t bytes);
void unmap_memory(std::byte* data, int64_t bytes);
// Gives back the memory of whole pages within a mapped block; they stay writable and read as zeros. Only where
// has_huge_pages().
void forget_memory(std::byte* data, int64_t bytes);

// Gives back the memory of a mapped file's pages that lie within; they are read again when somebody looks. Only for
// read-only mappings of files.
void release_file_pages(const std::byte* data, int64_t bytes);

}  // namespace vivace
