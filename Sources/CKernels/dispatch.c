#include "dispatch.h"

#include <string.h>

#if defined(BEREK_ARM64) && defined(__linux__)
#include <sys/auxv.h>
#endif

// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
int berek_kernel_available(berek_kernel kernel) {
    switch (kernel) {
    case BEREK_KERNEL_BEST:
    case BEREK_KERNEL_PORTABLE:
        return 1;
#if defined(BEREK_X86)
    case BEREK_KERNEL_CARRYLESS:
        return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
    case BEREK_KERNEL_CARRYLESS_256:
        return __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("pclmul")
            && __builtin_cpu_supports("avx2");
    case BEREK_KERNEL_AVX2:
        return __builtin_cpu_supports("avx2") != 0;
    case BEREK_KERNEL_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
            && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
#elif defined(BEREK_ARM64) && defined(__linux__)
    case BEREK_KERNEL_CARRYLESS:
        return (getauxval(AT_HWCAP) & (1ul << 4)) != 0; // HWCAP_PMULL
#endif
    default:
        return 0;
    }
}

berek_kernel berek_kernel_vector(berek_kernel kernel) {
    if (kernel == BEREK_KERNEL_BEST) {
        if (berek_kernel_available(BEREK_KERNEL_AVX512)) return BEREK_KERNEL_AVX512;
        if (berek_kernel_available(BEREK_KERNEL_AVX2)) return BEREK_KERNEL_AVX2;
        return BEREK_KERNEL_PORTABLE;
    }
    return berek_kernel_available(kernel) ? kernel : BEREK_KERNEL_PORTABLE;
}

int berek_kernel_clmul_width(berek_kernel kernel) {
    if (kernel == BEREK_KERNEL_PORTABLE) return 0;
    if (kernel != BEREK_KERNEL_CARRYLESS && berek_kernel_available(BEREK_KERNEL_CARRYLESS_256)) {
        return 2;
    }
    return berek_kernel_available(BEREK_KERNEL_CARRYLESS) ? 1 : 0;
}

// The empty statement may read the memory for all the compiler knows, so the zeros must be there.
void berek_zeroize(void *memory, size_t octets) {
    if (octets == 0) return;
    memset(memory, 0, octets);
    __asm__ volatile("" : : "r"(memory) : "memory");
}

uint32_t berek_constant_time_difference(const uint8_t *left, const uint8_t *right, size_t count) {
    volatile uint32_t difference = 0;
    for (size_t i = 0; i < count; i++) difference = difference | (uint32_t)(left[i] ^ right[i]);
    return difference;
}
