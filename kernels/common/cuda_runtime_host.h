// CUDA's runtime, as the host sees it: the real one, or the emulated one.
#pragma once

#if defined(CD_EMULATE)
#include "cuda_runtime_emulated.h"
#else
#include <cuda_runtime_api.h>
#endif
