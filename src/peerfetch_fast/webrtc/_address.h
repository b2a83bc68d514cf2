#ifndef PEERFETCH_ADDRESS_H
#define PEERFETCH_ADDRESS_H

#include <string.h>

#include <netinet/in.h>
#include <sys/socket.h>

/* Whether two socket addresses are of one host and port. Scopes of link-local addresses are not
 * compared: a numeric host does not have them. */
static inline int same_address(const struct sockaddr_storage *one,
                               const struct sockaddr_storage *other) {
    if (one->ss_family != other->ss_family)
        return 0;
    if (one->ss_family == AF_INET) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)one;
        const struct sockaddr_in *b = (const struct sockaddr_in *)other;
        return a->sin_port == b->sin_port && a->sin_addr.s_addr == b->sin_addr.s_addr;
    }
    if (one->ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)one;
        const struct sockaddr_in6 *b = (const struct sockaddr_in6 *)other;
        return a->sin6_port == b->sin6_port &&
               memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr)) == 0;
    }
    return 0;
}

#endif
