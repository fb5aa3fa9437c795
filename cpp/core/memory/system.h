// Memory straight from the operating system for blocks that must go back to it at once when they are freed: the
// general heap keeps freed blocks of this size.
#pragma once
#include <cstddef>
#include <cstdint>

namespace vivace {

// `bytes` of zeroed memory, aligned to the system's page; null when there is none. Blocks of 4 MiB and more ask for
// huge pages (3-8 % more read bandwidth).
std::byte* map_memory(int64_t bytes);
void unmap_memory(std::byte* data, int64_t bytes);

// Gives back the memory of a mapped file's pages that lie within; they are read again when somebody looks. Only for
// read-only mappings of files.
void release_file_pages(const std::byte* data, int64_t bytes);

}  // namespace vivace
