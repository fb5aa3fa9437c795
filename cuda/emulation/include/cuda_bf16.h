// bfloat16 numbers of emulated kernels.
#pragma once
#include "cuda/emulation/half.h"
