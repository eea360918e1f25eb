#ifndef BEREK_DISPATCH_H
#define BEREK_DISPATCH_H
#include "kernels.h"

#if defined(__x86_64__)
#define BEREK_X86 1
#define BEREK_TARGET(features) __attribute__((target(features)))
#define BEREK_AVX2 "avx2"
#define BEREK_AVX512 "avx512f,avx512dq,avx512bw,avx512vl"
#elif defined(__aarch64__)
#define BEREK_ARM64 1
#endif

#define BEREK_INLINE static inline __attribute__((always_inline))

/// The variant to run when `kernel` was asked for: itself if the processor has it, the widest one
/// for BEREK_KERNEL_BEST, else the portable one.
berek_kernel berek_kernel_vector(berek_kernel kernel);

/// The carry-less products one instruction is to make: 2 with VPCLMULQDQ on 256 bits, 1 with
/// PCLMULQDQ or PMULL, 0 without such an instruction.
int berek_kernel_clmul_width(berek_kernel kernel);

#endif
