/* The differences between the systems' datagram sockets: batches, coalescing and their control
 * messages. Linux has recvmmsg and sendmmsg, UDP_GRO (5.0) and UDP_SEGMENT (4.18); elsewhere the
 * same functions move one datagram a system call. */
#ifndef PEERFETCH_UDP_H
#define PEERFETCH_UDP_H

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifdef __linux__
#include <netinet/udp.h>
#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SO_RXQ_OVFL
#define SO_RXQ_OVFL 40
#endif
#endif

/* The most that one UDP datagram over IPv4 carries, which also bounds a coalesced buffer. */
#define UDP_MAX_PAYLOAD 65507
/* UDP_MAX_SEGMENTS of Linux 4.18; later kernels allow more. */
#define UDP_MAX_GSO_SEGMENTS 64
/* Buffers that one system call may fill. */
#define UDP_RECEIVE_BATCH 16
/* Bytes of each: more than a datagram, or a coalesced buffer, has. */
#define UDP_RECEIVE_ROOM 65536
/* Datagrams that wait to be sent together. */
#define UDP_SEND_BATCH 64

struct udp_received {
    uint8_t *data;
    size_t length;
    size_t segment; /* the length of each datagram in it but the last */
    struct sockaddr_storage address;
};

/* Room for one batch. It holds nothing between two calls, so that sockets can share it. */
struct udp_receiver {
#ifdef __linux__
    struct mmsghdr messages[UDP_RECEIVE_BATCH];
    struct iovec vectors[UDP_RECEIVE_BATCH];
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint32_t))];
    } control[UDP_RECEIVE_BATCH];
#endif
    struct udp_received received[UDP_RECEIVE_BATCH];
    uint8_t *slab;
};

struct udp_features {
    int gso;
    int gro;
    int receive_buffer; /* bytes that the kernel granted, in its own count */
    int send_buffer;
};

static struct udp_receiver *udp_receiver_new(void) {
    struct udp_receiver *receiver = calloc(1, sizeof(*receiver));
    if (receiver == NULL)
        return NULL;
    /* Pages that no datagram reaches stay untouched. */
    receiver->slab = malloc((size_t)UDP_RECEIVE_BATCH * UDP_RECEIVE_ROOM);
    if (receiver->slab == NULL) {
        free(receiver);
        return NULL;
    }
    for (int i = 0; i < UDP_RECEIVE_BATCH; i++)
        receiver->received[i].data = receiver->slab + (size_t)i * UDP_RECEIVE_ROOM;
    return receiver;
}

static void udp_receiver_free(struct udp_receiver *receiver) {
    if (receiver != NULL)
        free(receiver->slab);
    free(receiver);
}

static int udp_buffer_size(int fd, int option, int wanted) {
    int size = 0;
    socklen_t length = sizeof(size);
    /* More than the system's limit is cut to it on Linux and refused elsewhere. */
    (void)setsockopt(fd, SOL_SOCKET, option, &wanted, sizeof(wanted));
    (void)getsockopt(fd, SOL_SOCKET, option, &size, &length);
    return size;
}

static void udp_setup(int fd, int receive_buffer, int send_buffer, struct udp_features *features) {
    features->gso = 0;
    features->gro = 0;
#ifdef __linux__
    int on = 1, value = 0;
    socklen_t length = sizeof(value);
    features->gso = getsockopt(fd, SOL_UDP, UDP_SEGMENT, &value, &length) == 0;
    features->gro = setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof(on)) == 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on));
#endif
    features->receive_buffer = udp_buffer_size(fd, SO_RCVBUF, receive_buffer);
    features->send_buffer = udp_buffer_size(fd, SO_SNDBUF, send_buffer);
}

/* An error of an earlier datagram, reported late: not this socket's, and not the end of it. */
static int udp_is_passing_error(int error) {
    return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH ||
           error == EHOSTDOWN || error == ENETDOWN || error == EINTR || error == EMSGSIZE;
}

/* Receive one batch. Returns the number of buffers filled, 0 when there are no more, or -1 with
 * errno set. *drops becomes the kernel's count of datagrams that found the buffer full. */
static int udp_receive(int fd, struct udp_receiver *receiver, uint32_t *drops) {
#ifdef __linux__
    for (int i = 0; i < UDP_RECEIVE_BATCH; i++) {
        receiver->vectors[i].iov_base = receiver->received[i].data;
        receiver->vectors[i].iov_len = UDP_RECEIVE_ROOM;
        struct msghdr *header = &receiver->messages[i].msg_hdr;
        header->msg_name = &receiver->received[i].address;
        header->msg_namelen = sizeof(receiver->received[i].address);
        header->msg_iov = &receiver->vectors[i];
        header->msg_iovlen = 1;
        header->msg_control = receiver->control[i].bytes;
        header->msg_controllen = sizeof(receiver->control[i].bytes);
        header->msg_flags = 0;
    }
    int count = recvmmsg(fd, receiver->messages, UDP_RECEIVE_BATCH, MSG_DONTWAIT, NULL);
    if (count < 0)
        return errno == EAGAIN ? 0 : -1;
    for (int i = 0; i < count; i++) {
        struct msghdr *header = &receiver->messages[i].msg_hdr;
        struct udp_received *received = &receiver->received[i];
        received->length = receiver->messages[i].msg_len;
        received->segment = received->length;
        for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control != NULL;
             control = CMSG_NXTHDR(header, control)) {
            /* One that was cut short has no value. */
            if (control->cmsg_len < CMSG_LEN(sizeof(int)))
                continue;
            if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
                int segment;
                memcpy(&segment, CMSG_DATA(control), sizeof(segment));
                if (segment > 0)
                    received->segment = (size_t)segment;
            } else if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == SO_RXQ_OVFL) {
                memcpy(drops, CMSG_DATA(control), sizeof(*drops));
            }
        }
    }
    return count;
#else
    int count = 0;
    (void)drops;
    while (count < UDP_RECEIVE_BATCH) {
        struct udp_received *received = &receiver->received[count];
        socklen_t length = sizeof(received->address);
        ssize_t size = recvfrom(fd, received->data, UDP_RECEIVE_ROOM, MSG_DONTWAIT,
                                (struct sockaddr *)&received->address, &length);
        if (size < 0) {
            if (errno == EAGAIN || count > 0)
                break;
            return -1;
        }
        received->length = received->segment = (size_t)size;
        count++;
    }
    return count;
#endif
}

/* The number of datagrams, of those that follow one another in memory with the given lengths,
 * that one segmented send can carry: all as long as the first, but a shorter one may end it. */
static int udp_run(const uint16_t *lengths, int count, size_t *size) {
    int run = 0;
    *size = 0;
    while (run < count && run < UDP_MAX_GSO_SEGMENTS && lengths[run] <= lengths[0] &&
           *size + lengths[run] <= UDP_MAX_PAYLOAD) {
        *size += lengths[run++];
        if (lengths[run - 1] < lengths[0])
            break;
    }
    return run;
}

/* Send datagrams that follow one another in memory, all to one address. Returns how many the
 * kernel took, which may be fewer than count only when it has no room for more, or -1 with errno
 * set when it refused the first. */
static int udp_send(int fd, const uint8_t *data, const uint16_t *lengths, int count,
                    const struct sockaddr *address, socklen_t address_length, int gso) {
#ifdef __linux__
    struct mmsghdr messages[UDP_SEND_BATCH];
    struct iovec vectors[UDP_SEND_BATCH];
    int runs[UDP_SEND_BATCH];
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(uint16_t))];
    } control[UDP_SEND_BATCH];
    int taken = 0, used = 0;
    /* Each array has room for a run of one for each datagram, and no datagram exceeds a run. */
    while (taken < count && used < UDP_SEND_BATCH) {
        size_t size = lengths[taken];
        int run = gso ? udp_run(lengths + taken, count - taken, &size) : 1;
        struct msghdr *header = &messages[used].msg_hdr;
        memset(header, 0, sizeof(*header));
        vectors[used].iov_base = (void *)data;
        vectors[used].iov_len = size;
        header->msg_name = (void *)address;
        header->msg_namelen = address_length;
        header->msg_iov = &vectors[used];
        header->msg_iovlen = 1;
        if (run > 1) {
            memset(&control[used], 0, sizeof(control[used]));
            header->msg_control = control[used].bytes;
            header->msg_controllen = sizeof(control[used].bytes);
            struct cmsghdr *segment = CMSG_FIRSTHDR(header);
            segment->cmsg_level = SOL_UDP;
            segment->cmsg_type = UDP_SEGMENT;
            segment->cmsg_len = CMSG_LEN(sizeof(uint16_t));
            memcpy(CMSG_DATA(segment), &lengths[taken], sizeof(uint16_t));
        }
        runs[used++] = run;
        taken += run;
        data += size;
    }
    int sent = sendmmsg(fd, messages, (unsigned int)used, MSG_DONTWAIT);
    if (sent < 0)
        return -1;
    int datagrams = 0;
    for (int i = 0; i < sent; i++)
        datagrams += runs[i];
    return datagrams;
#else
    int sent = 0;
    (void)gso;
    for (; sent < count; sent++) {
        if (sendto(fd, data, lengths[sent], MSG_DONTWAIT, address, address_length) < 0)
            return sent > 0 ? sent : -1;
        data += lengths[sent];
    }
    return sent;
#endif
}

/* Fill in a socket address from a numeric one. Returns its length, or 0 if it is not one. */
static socklen_t udp_parse_address(const char *host, uint16_t port,
                                   struct sockaddr_storage *address) {
    memset(address, 0, sizeof(*address));
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        return sizeof(*v4);
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        return sizeof(*v6);
    }
    return 0;
}

/* The other way round. Returns the port, and the host in a buffer of INET6_ADDRSTRLEN. */
static uint16_t udp_format_address(const struct sockaddr_storage *address, char *host) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    if (address->ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &v4->sin_addr, host, INET6_ADDRSTRLEN);
        return ntohs(v4->sin_port);
    }
    (void)inet_ntop(AF_INET6, &v6->sin6_addr, host, INET6_ADDRSTRLEN);
    return ntohs(v6->sin6_port);
}

#endif
