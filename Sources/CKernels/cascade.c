#include "cascade.h"
#include "dispatch.h"
#include <string.h>

#if defined(BEREK_X86)
#include <immintrin.h>
#define BEREK_POPCNT "popcnt"
#endif

// ---- Gathering single bits ----

static void gather_portable(
    uint64_t *result, const uint64_t *source, const uint16_t *order, size_t count) {
    for (size_t base = 0; base < count; base += 64) {
        const size_t bits = count - base < 64 ? count - base : 64;
        uint64_t word = 0;
        for (size_t bit = 0; bit < bits; bit++) {
            const uint16_t from = order[base + bit];
            word |= (source[from >> 6] >> (from & 63) & 1) << bit;
        }
        result[base >> 6] = word;
    }
}

#if defined(BEREK_X86)
// One octet for each bit, which a load can address; the sign bits of 32 octets make half a word.
// Faster than gathering instructions, whose eight lanes are loads all the same.
BEREK_TARGET(BEREK_AVX2)
static void gather_avx2(
    uint64_t *result, const uint64_t *source, const uint16_t *order, size_t count) {
    uint8_t octets[1 << 16] __attribute__((aligned(32)));
    const __m256i spread = _mm256_setr_epi8(
        0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3,
        3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    for (size_t base = 0; base < count; base += 32) {
        const uint32_t half = (uint32_t)(source[base >> 6] >> (base & 63));
        const __m256i ones =
            _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)half), spread), bit);
        _mm256_store_si256((__m256i *)(octets + base), _mm256_cmpeq_epi8(ones, bit));
    }
    for (size_t base = 0; base < count; base += 64) {
        uint8_t moved[64] __attribute__((aligned(32))) = {0};
        const size_t bits = count - base < 64 ? count - base : 64;
        if (bits == 64) {
#pragma GCC unroll 16
            for (size_t i = 0; i < 64; i++) moved[i] = octets[order[base + i]];
        } else {
            for (size_t i = 0; i < bits; i++) moved[i] = octets[order[base + i]];
        }
        const uint32_t low =
            (uint32_t)_mm256_movemask_epi8(_mm256_load_si256((const __m256i *)moved));
        const uint32_t high =
            (uint32_t)_mm256_movemask_epi8(_mm256_load_si256((const __m256i *)(moved + 32)));
        result[base >> 6] = low | (uint64_t)high << 32;
    }
    // The octets are key bits; the barrier keeps the compiler from dropping what nobody reads.
    memset(octets, 0, count);
    __asm__ volatile("" : : "r"(octets) : "memory");
}
#endif

void berek_cascade_gather(
    uint64_t *result, const uint64_t *source, const uint16_t *order, size_t count,
    berek_kernel kernel) {
#if defined(BEREK_X86)
    if (berek_kernel_vector(kernel) != BEREK_KERNEL_PORTABLE
        && berek_kernel_available(BEREK_KERNEL_AVX2)) {
        gather_avx2(result, source, order, count);
        return;
    }
#endif
    gather_portable(result, source, order, count);
}

// ---- Parities of ranges ----

BEREK_INLINE uint64_t range_fold(const uint64_t *bits, size_t lower, size_t upper) {
    const size_t first = lower >> 6;
    const size_t last = (upper - 1) >> 6;
    const uint64_t head = ~0ull << (lower & 63);
    const uint64_t tail = ~0ull >> (63 - ((upper - 1) & 63));
    if (first == last) return bits[first] & head & tail;
    uint64_t fold = (bits[first] & head) ^ (bits[last] & tail);
    for (size_t word = first + 1; word < last; word++) fold ^= bits[word];
    return fold;
}

BEREK_INLINE void half_parities(
    uint64_t *parities, size_t first, const uint64_t *bits, const berek_cascade_segment *segments,
    size_t count) {
    for (size_t i = 0; i < count; i++) {
        const size_t start = segments[i].start;
        const uint64_t fold = range_fold(bits, start, start + segments[i].length / 2);
        const size_t place = first + i;
        parities[place >> 6] |= (uint64_t)__builtin_parityll(fold) << (place & 63);
    }
}

BEREK_INLINE void block_parities(
    uint64_t *parities, size_t first, const uint64_t *bits, size_t end, size_t size, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const size_t lower = i * size;
        const size_t upper = lower + size < end ? lower + size : end;
        const uint64_t fold = range_fold(bits, lower, upper);
        const size_t place = first + i;
        parities[place >> 6] |= (uint64_t)__builtin_parityll(fold) << (place & 63);
    }
}

static void half_parities_portable(
    uint64_t *parities, size_t first, const uint64_t *bits, const berek_cascade_segment *segments,
    size_t count) {
    half_parities(parities, first, bits, segments, count);
}

static void block_parities_portable(
    uint64_t *parities, size_t first, const uint64_t *bits, size_t end, size_t size, size_t count) {
    block_parities(parities, first, bits, end, size, count);
}

#if defined(BEREK_X86)
BEREK_TARGET(BEREK_POPCNT)
static void half_parities_popcnt(
    uint64_t *parities, size_t first, const uint64_t *bits, const berek_cascade_segment *segments,
    size_t count) {
    half_parities(parities, first, bits, segments, count);
}

BEREK_TARGET(BEREK_POPCNT)
static void block_parities_popcnt(
    uint64_t *parities, size_t first, const uint64_t *bits, size_t end, size_t size, size_t count) {
    block_parities(parities, first, bits, end, size, count);
}
#endif

void berek_cascade_half_parities(
    uint64_t *parities, size_t first, const uint64_t *bits, const berek_cascade_segment *segments,
    size_t count, berek_kernel kernel) {
#if defined(BEREK_X86)
    if (kernel != BEREK_KERNEL_PORTABLE && __builtin_cpu_supports("popcnt")) {
        half_parities_popcnt(parities, first, bits, segments, count);
        return;
    }
#endif
    half_parities_portable(parities, first, bits, segments, count);
}

void berek_cascade_block_parities(
    uint64_t *parities, size_t first, const uint64_t *bits, size_t end, size_t size, size_t count,
    berek_kernel kernel) {
#if defined(BEREK_X86)
    if (kernel != BEREK_KERNEL_PORTABLE && __builtin_cpu_supports("popcnt")) {
        block_parities_popcnt(parities, first, bits, end, size, count);
        return;
    }
#endif
    block_parities_portable(parities, first, bits, end, size, count);
}

// ---- Parities of random subsets ----

// The finaliser of SplitMix64.
BEREK_INLINE uint64_t mixed(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ull;
    value = (value ^ (value >> 27)) * 0x94D049BB133111EBull;
    return value ^ (value >> 31);
}

BEREK_INLINE void subset_folds(
    uint64_t *restrict folds, size_t count, const uint64_t *restrict bits, size_t words,
    uint64_t round, uint64_t first) {
    for (size_t word = 0; word < words; word++) {
        const uint64_t mask = mixed(round + (first + word) * 0x9E3779B97F4A7C15ull);
        const uint64_t value = bits[word];
        for (uint64_t turn = 0; turn < count; turn++) {
            folds[turn] ^= value & (mask << turn | mask >> ((64 - turn) & 63));
        }
    }
}

static void subset_folds_portable(
    uint64_t *folds, size_t count, const uint64_t *bits, size_t words, uint64_t round,
    uint64_t first) {
    subset_folds(folds, count, bits, words, round, first);
}

#if defined(BEREK_X86)
BEREK_TARGET(BEREK_AVX2)
static void subset_folds_avx2(
    uint64_t *folds, size_t count, const uint64_t *bits, size_t words, uint64_t round,
    uint64_t first) {
    subset_folds(folds, count, bits, words, round, first);
}
#endif

void berek_cascade_subset_folds(
    uint64_t *folds, size_t count, const uint64_t *bits, size_t words, uint64_t round,
    uint64_t first, berek_kernel kernel) {
#if defined(BEREK_X86)
    if (berek_kernel_vector(kernel) != BEREK_KERNEL_PORTABLE
        && berek_kernel_available(BEREK_KERNEL_AVX2)) {
        subset_folds_avx2(folds, count, bits, words, round, first);
        return;
    }
#endif
    subset_folds_portable(folds, count, bits, words, round, first);
}
