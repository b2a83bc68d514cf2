/* Preloaded, lets programs see a processor with fewer instructions than the one that is emulated: the bits
 * in WITHOUT_HWCAP are taken from AT_HWCAP. What qemu emulates of ARMv8 has them all. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/auxv.h>

unsigned long getauxval(unsigned long type) {
    union {
        void *found;
        unsigned long (*call)(unsigned long);
    } next = {dlsym(RTLD_NEXT, "getauxval")};
    unsigned long value = next.call(type);
    const char *without = getenv("WITHOUT_HWCAP");
    if (type == AT_HWCAP && without != NULL)
        value &= ~strtoul(without, NULL, 0);
    return value;
}
