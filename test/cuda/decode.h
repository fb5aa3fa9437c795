// The parts of the program that tries the kernels of decoding.
#pragma once

namespace vivace::cuda {

void sampling();

}  // namespace vivace::cuda
