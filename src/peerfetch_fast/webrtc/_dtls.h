/* Whether this processor has instructions for AES-GCM: AES rounds and carry-less multiplication.
 * Without them, as on a Raspberry Pi 4, ChaCha20-Poly1305 is several times faster. */
#ifndef PEERFETCH_DTLS_H
#define PEERFETCH_DTLS_H

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
static int cpu_has_aes(void) {
    unsigned int a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_AES) && (c & bit_PCLMUL);
}
#elif defined(__linux__) && defined(__aarch64__)
#include <sys/auxv.h>
#include <asm/hwcap.h>
static int cpu_has_aes(void) {
    unsigned long capabilities = getauxval(AT_HWCAP);
    return (capabilities & HWCAP_AES) && (capabilities & HWCAP_PMULL);
}
#elif defined(__linux__) && defined(__arm__)
#include <sys/auxv.h>
#include <asm/hwcap.h>
static int cpu_has_aes(void) {
    unsigned long capabilities = getauxval(AT_HWCAP2);
    return (capabilities & HWCAP2_AES) && (capabilities & HWCAP2_PMULL);
}
#elif defined(__APPLE__) && defined(__aarch64__)
static int cpu_has_aes(void) { return 1; }
#else
static int cpu_has_aes(void) { return 0; }
#endif

#endif
