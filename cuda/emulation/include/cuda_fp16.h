// 16-bit floats of emulated kernels.
#pragma once
#include "cuda/emulation/half.h"
