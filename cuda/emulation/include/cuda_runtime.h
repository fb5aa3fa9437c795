// The CUDA runtime as far as the project uses it, for plain C++ compilers: kernels run on this machine's processor.
#pragma once
#include "cuda/emulation/device.h"
#include "cuda/emulation/runtime.h"
