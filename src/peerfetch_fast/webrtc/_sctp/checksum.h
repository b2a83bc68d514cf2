/* CRC32C (RFC 9260 appendix A), by the CPU's own instruction where it has one.
 *
 * sctp_crc32c_update() takes and returns the raw shift register: start from 0xFFFFFFFF and invert
 * the end. The way is chosen once, by sctp_crc32c_init(), which must run before the first update;
 * each module that includes this file has its own copy of that choice.
 */
#ifndef PEERFETCH_SCTP_CHECKSUM_H
#define PEERFETCH_SCTP_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if (defined(__GNUC__) || defined(__clang__)) && defined(__x86_64__)
#define SCTP_CRC32C_X86 1
#include <immintrin.h>
#elif (defined(__GNUC__) || defined(__clang__)) && defined(__AARCH64EL__) && defined(__linux__)
#define SCTP_CRC32C_ARM __attribute__((target("+crc")))
#include <arm_acle.h>
#include <sys/auxv.h>
#define SCTP_CRC32C_CAPABILITIES AT_HWCAP
#define SCTP_CRC32C_CAPABLE (1 << 7) /* HWCAP_CRC32 */
#elif defined(__GNUC__) && !defined(__clang__) && defined(__ARMEL__) && defined(__linux__)
/* A 32-bit system on a 64-bit processor, which is what many boards run. arm_acle.h has none of this
 * where the whole file is compiled for ARMv7. */
#define SCTP_CRC32C_ARM __attribute__((target("arch=armv8-a+crc+simd")))
#define __crc32cb __builtin_arm_crc32cb
#define __crc32cw __builtin_arm_crc32cw
#include <sys/auxv.h>
#define SCTP_CRC32C_CAPABILITIES AT_HWCAP2
#define SCTP_CRC32C_CAPABLE (1 << 4) /* HWCAP2_CRC32 */
#endif

#define SCTP_CRC32C_POLYNOMIAL 0x82F63B78u /* bit-reversed */

typedef uint32_t (*sctp_crc32c_way)(uint32_t crc, const uint8_t *data, size_t length);

static uint32_t sctp_crc32c_table[8][256];

static void sctp_crc32c_make_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? SCTP_CRC32C_POLYNOMIAL : 0);
        sctp_crc32c_table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int slice = 1; slice < 8; slice++) {
            uint32_t before = sctp_crc32c_table[slice - 1][byte];
            sctp_crc32c_table[slice][byte] = (before >> 8) ^ sctp_crc32c_table[0][before & 0xFF];
        }
}

/* Slicing by 8: eight table look-ups for eight bytes, independent of one another. */
static uint32_t sctp_crc32c_by_table(uint32_t crc, const uint8_t *data, size_t length)
{
    while (length >= 8) {
        uint32_t low = crc ^ ((uint32_t)data[0] | (uint32_t)data[1] << 8 |
                              (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24);
        crc = sctp_crc32c_table[7][low & 0xFF] ^ sctp_crc32c_table[6][(low >> 8) & 0xFF] ^
              sctp_crc32c_table[5][(low >> 16) & 0xFF] ^ sctp_crc32c_table[4][low >> 24] ^
              sctp_crc32c_table[3][data[4]] ^ sctp_crc32c_table[2][data[5]] ^
              sctp_crc32c_table[1][data[6]] ^ sctp_crc32c_table[0][data[7]];
        data += 8;
        length -= 8;
    }
    while (length--)
        crc = (crc >> 8) ^ sctp_crc32c_table[0][(crc ^ *data++) & 0xFF];
    return crc;
}

#if defined(SCTP_CRC32C_X86)

/* The instruction has a latency of three cycles and a throughput of one, so three parts of the
 * packet are summed at once. Moving a register past n bytes of zeros is a multiplication by
 * x^(8n) modulo the polynomial; a carry-less product is one bit short of 64 and the instruction
 * itself, run over 8 bytes, multiplies by x^32 and reduces: hence the 33. */
#define SCTP_CRC32C_LANES_FROM 192   /* bytes: below, joining the lanes costs more than it wins */
#define SCTP_CRC32C_LANE_WORDS 512   /* of 8 bytes; longer data goes around again */

static uint64_t sctp_crc32c_shift[2 * SCTP_CRC32C_LANE_WORDS + 1];

static void sctp_crc32c_make_shifts(void)
{
    uint32_t power = 0x80000000u; /* x^0, bit-reversed */
    int exponent = 0;
    for (int words = 1; words <= 2 * SCTP_CRC32C_LANE_WORDS; words++) {
        while (exponent < 64 * words - 33) {
            power = (power >> 1) ^ (power & 1 ? SCTP_CRC32C_POLYNOMIAL : 0);
            exponent++;
        }
        sctp_crc32c_shift[words] = power;
    }
}

__attribute__((target("sse4.2,pclmul"))) static inline uint64_t
sctp_crc32c_past(uint64_t crc, size_t words)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                                           _mm_cvtsi64_si128((long long)sctp_crc32c_shift[words]),
                                           0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t
sctp_crc32c_by_instruction(uint32_t start, const uint8_t *data, size_t length)
{
    uint64_t crc = start, word;
    while (length >= SCTP_CRC32C_LANES_FROM) {
        size_t words = length / 24;
        if (words > SCTP_CRC32C_LANE_WORDS)
            words = SCTP_CRC32C_LANE_WORDS;
        const uint8_t *second = data + 8 * words, *third = second + 8 * words;
        uint64_t crc2 = 0, crc3 = 0, word2, word3;
        for (size_t offset = 0; offset < 8 * words; offset += 8) {
            memcpy(&word, data + offset, 8);
            memcpy(&word2, second + offset, 8);
            memcpy(&word3, third + offset, 8);
            crc = _mm_crc32_u64(crc, word);
            crc2 = _mm_crc32_u64(crc2, word2);
            crc3 = _mm_crc32_u64(crc3, word3);
        }
        crc = sctp_crc32c_past(crc, 2 * words) ^ sctp_crc32c_past(crc2, words) ^ crc3;
        data += 24 * words;
        length -= 24 * words;
    }
    for (; length >= 8; data += 8, length -= 8) {
        memcpy(&word, data, 8);
        crc = _mm_crc32_u64(crc, word);
    }
    while (length--)
        crc = _mm_crc32_u8((uint32_t)crc, *data++);
    return (uint32_t)crc;
}

#elif defined(SCTP_CRC32C_ARM)

SCTP_CRC32C_ARM static uint32_t
sctp_crc32c_by_instruction(uint32_t crc, const uint8_t *data, size_t length)
{
#if defined(__aarch64__)
    uint64_t word;
    for (; length >= 8; data += 8, length -= 8) {
        memcpy(&word, data, 8);
        crc = __crc32cd(crc, word);
    }
#else
    uint32_t words[2];
    for (; length >= 8; data += 8, length -= 8) {
        memcpy(words, data, 8);
        crc = __crc32cw(__crc32cw(crc, words[0]), words[1]);
    }
#endif
    while (length--)
        crc = __crc32cb(crc, *data++);
    return crc;
}

#endif

static sctp_crc32c_way sctp_crc32c_update = sctp_crc32c_by_table;

static void sctp_crc32c_init(void)
{
    sctp_crc32c_make_table();
#if defined(SCTP_CRC32C_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) {
        sctp_crc32c_make_shifts();
        sctp_crc32c_update = sctp_crc32c_by_instruction;
    }
#elif defined(SCTP_CRC32C_ARM)
    if (getauxval(SCTP_CRC32C_CAPABILITIES) & SCTP_CRC32C_CAPABLE)
        sctp_crc32c_update = sctp_crc32c_by_instruction;
#endif
}

static inline int sctp_crc32c_is_by_instruction(void)
{
    return sctp_crc32c_update != sctp_crc32c_by_table;
}

/* The checksum of a packet, whose own checksum field counts as zero. */
static inline uint32_t sctp_packet_checksum(const uint8_t *packet, size_t length)
{
    static const uint8_t zeros[4] = {0, 0, 0, 0};
    uint32_t crc = sctp_crc32c_update(0xFFFFFFFFu, packet, 8);
    crc = sctp_crc32c_update(crc, zeros, 4);
    return ~sctp_crc32c_update(crc, packet + 12, length - 12);
}

#endif
