/* What the machine could do: OpenSSL's DTLS over UDP with GSO and GRO, and no SCTP.
 *
 * ceiling offer|answer PATTERN PERIOD HIGH LOW
 *
 * Speaks with the benchmark as the other peers do (../README.md). A record carries what a packet of SCTP
 * would: 1,135 bytes of user data behind 28 bytes that stand for the headers, 1,200 bytes of UDP payload
 * with AES-128-GCM. Nothing is lost, because the sender stays less than the receive buffer ahead of what
 * the other end has acknowledged.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    HEADER = 28,      /* SCTP's common header and one DATA chunk's (RFC 9260, 3.1 and 3.3.1) */
    USER_DATA = 1135,
    RECORD = HEADER + USER_DATA,
    BATCH = 65000,    /* of the 65,507 bytes that one send may have */
    SEGMENTS = 64,    /* UDP_MAX_SEGMENTS of older kernels */
    ACK_EVERY = 64 * USER_DATA,
    BUFFER = 4 << 20, /* asked for; the kernel may give less */
    MOST_PINGS = 1 << 20,
    TIMEOUT_MS = 10000,
};

/* The first byte of a record says what it is. */
enum { DATA = 'd', ACK = 'a', BULK = 'b', PING = 'p', END = 'e', DONE = 'f' };

static int sock;
static SSL *ssl;
static int offering;
static unsigned char *pattern;
static uint64_t period, high;

static void die(const char *what) {
    printf("{\"type\": \"failed\", \"message\": \"%s: %s\"}\n", what, strerror(errno));
    fflush(stdout);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_us(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return 1e6 * (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

/* ---- Datagrams: OpenSSL writes into a batch that leaves in one call, and reads from one that came so. */

static struct {
    unsigned char bytes[BATCH];
    size_t used, segment, count;
} out;

static struct {
    unsigned char bytes[1 << 16];
    size_t used, at, segment;
} in;

static void flush(void) {
    union {
        char bytes[CMSG_SPACE(sizeof(uint16_t))];
        struct cmsghdr align;
    } control = {0};
    struct iovec part = {out.bytes, out.used};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (out.used == 0) return;
    if (out.count > 1) {
        uint16_t segment = (uint16_t)out.segment;
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_UDP;
        header->cmsg_type = UDP_SEGMENT;
        header->cmsg_len = CMSG_LEN(sizeof segment);
        memcpy(CMSG_DATA(header), &segment, sizeof segment);
    }
    if (sendmsg(sock, &message, 0) < 0) die("sendmsg with UDP_SEGMENT");
    out.used = out.count = 0;
}

static int on_write(BIO *bio, const char *data, int length) {
    (void)bio;
    size_t size = (size_t)length;
    /* Segments are of one size; a smaller one can only be the last. */
    if (out.count && (size > out.segment || out.count == SEGMENTS || out.used + size > BATCH)) flush();
    if (out.count == 0) out.segment = size;
    memcpy(out.bytes + out.used, data, size);
    out.used += size;
    out.count++;
    if (size < out.segment) flush();
    return length;
}

static int on_read(BIO *bio, char *data, int room) {
    BIO_clear_retry_flags(bio);
    if (in.at == in.used) {
        BIO_set_retry_read(bio);
        return -1;
    }
    size_t size = in.used - in.at < in.segment ? in.used - in.at : in.segment;
    if ((size_t)room < size) size = (size_t)room;
    memcpy(data, in.bytes + in.at, size);
    in.at += size;
    return (int)size;
}

static long on_ctrl(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    if (command == BIO_CTRL_FLUSH) return 1;
    if (command == BIO_CTRL_DGRAM_QUERY_MTU || command == BIO_CTRL_DGRAM_GET_FALLBACK_MTU) return 1200;
    return 0;
}

/* Wait for datagrams, if `wait`, and take what has come; whether something has. */
static int receive(int wait) {
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {in.bytes, sizeof in.bytes};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    if (wait) {
        struct pollfd ready = {.fd = sock, .events = POLLIN};
        if (poll(&ready, 1, wait) == 0) return 0;
    }
    ssize_t size = recvmsg(sock, &message, MSG_DONTWAIT);
    if (size < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED) return 0;
        die("recvmsg");
    }
    in.used = in.segment = (size_t)size;
    in.at = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
            int segment;
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
            in.segment = (size_t)segment;
        }
    }
    return 1;
}

/* ---- Records. */

static uint64_t sent, acknowledged, received, credited;
static double first_at, cpu_before;
static int echoing, done, echoes;

static void write_record(char kind, const void *data, size_t length) {
    unsigned char record[RECORD] = {(unsigned char)kind};
    memcpy(record + HEADER, data, length);
    if (SSL_write(ssl, record, (int)(HEADER + length)) <= 0) die("SSL_write");
}

static void write_number(char kind, uint64_t number) {
    write_record(kind, &number, sizeof number);
    flush();
}

static void wrong(const char *what, uint64_t at) {
    printf("{\"type\": \"wrong\", \"message\": \"the %s at %llu differs from what was sent\"}\n", what,
           (unsigned long long)at);
    fflush(stdout);
    exit(1);
}

static void on_data(const unsigned char *data, size_t length) {
    if (offering) {
        if (memcmp(data, pattern, length) != 0) wrong("echo", 0);
        echoes++;
        return;
    }
    if (echoing) {
        write_record(DATA, data, length);
        flush();
        return;
    }
    if (received == 0) first_at = now();
    if (memcmp(data, pattern + received % period, length) != 0) wrong("record", received);
    received += length;
    if (received - credited >= ACK_EVERY) {
        credited = received;
        write_number(ACK, received);
    }
}

static void on_record(const unsigned char *record, size_t length) {
    uint64_t number = 0;
    if (length >= HEADER + sizeof number) memcpy(&number, record + HEADER, sizeof number);
    switch (record[0]) {
    case DATA:
        on_data(record + HEADER, length - HEADER);
        break;
    case ACK:
        acknowledged = number;
        break;
    case BULK:
        received = credited = 0;
        echoing = 0;
        cpu_before = cpu_us();
        break;
    case PING:
        echoing = 1;
        break;
    case END:
        if (number != received) wrong("end", received);
        printf("{\"type\": \"received\", \"bytes\": %llu, \"bytes_after_first\": %llu, \"seconds\": %.6f, "
               "\"cpu_us\": %.0f}\n",
               (unsigned long long)received, (unsigned long long)(received - USER_DATA), now() - first_at,
               cpu_us() - cpu_before);
        fflush(stdout);
        write_number(DONE, received);
        break;
    case DONE:
        done = 1;
        break;
    }
}

static void read_records(void) {
    unsigned char record[RECORD];
    int length;
    while ((length = SSL_read(ssl, record, sizeof record)) > 0) on_record(record, (size_t)length);
}

/* Take what has come; if nothing has, wait for it. */
static void take(int wait) {
    if (!receive(0) && wait && !receive(TIMEOUT_MS)) die("nothing came for 10 s");
    read_records();
}

/* ---- What the benchmark asks for. */

static void bulk(double seconds) {
    double cpu = cpu_us(), until = now() + seconds;
    int available;
    socklen_t size = sizeof available;
    /* A quarter, because the kernel counts its own overhead into the buffer. */
    getsockopt(sock, SOL_SOCKET, SO_RCVBUF, &available, &size);
    uint64_t ahead = (uint64_t)available / 4 < high ? (uint64_t)available / 4 : high;
    sent = acknowledged = 0;
    done = 0;
    write_number(BULK, 0);
    while (now() < until) {
        for (int i = 0; i < SEGMENTS && sent - acknowledged < ahead; i++) {
            write_record(DATA, pattern + sent % period, USER_DATA);
            sent += USER_DATA;
        }
        flush();
        take(sent - acknowledged >= ahead);
    }
    write_number(END, sent);
    while (!done) take(1);
    printf("{\"type\": \"sent\", \"bytes\": %llu, \"cpu_us\": %.0f}\n", (unsigned long long)sent, cpu_us() - cpu);
    fflush(stdout);
}

static void ping(size_t length, double seconds) {
    double until = now() + seconds;
    const char *comma = "";
    if (length > USER_DATA) die("a ping of more than one record");
    write_number(PING, 0);
    printf("{\"type\": \"pinged\", \"latencies_us\": [");
    for (int i = 0; i < MOST_PINGS && now() < until; i++) {
        double began = now();
        write_record(DATA, pattern, length);
        flush();
        for (echoes = 0; !echoes;) take(1);
        printf("%s%.1f", comma, (now() - began) * 1e6);
        comma = ", ";
    }
    printf("]}\n");
    fflush(stdout);
}

static void command(const char *line) {
    const char *bytes = strstr(line, "\"message_bytes\": "), *seconds = strstr(line, "\"seconds\": ");
    if (!bytes || !seconds) die("a command that is none");
    double duration = strtod(seconds + strlen("\"seconds\": "), NULL);
    if (strstr(line, "\"bulk\""))
        bulk(duration);
    else
        ping((size_t)strtoul(bytes + strlen("\"message_bytes\": "), NULL, 10), duration);
}

/* ---- Setting up. */

static SSL_CTX *context(void) {
    SSL_CTX *made = SSL_CTX_new(DTLS_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    SSL_CTX_use_certificate(made, certificate);
    SSL_CTX_use_PrivateKey(made, key);
    SSL_CTX_set_max_proto_version(made, DTLS1_2_VERSION);
    SSL_CTX_set_cipher_list(made, "ECDHE-ECDSA-AES128-GCM-SHA256");
    SSL_CTX_set_verify(made, SSL_VERIFY_NONE, NULL);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return made;
}

static void handshake(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "batch");
    BIO_meth_set_write(method, on_write);
    BIO_meth_set_read(method, on_read);
    BIO_meth_set_ctrl(method, on_ctrl);
    BIO *bio = BIO_new(method);
    BIO_set_init(bio, 1);
    ssl = SSL_new(context());
    SSL_set_bio(ssl, bio, bio);
    SSL_set_options(ssl, SSL_OP_NO_QUERY_MTU);
    SSL_set_mtu(ssl, 1200);
    if (offering)
        SSL_set_connect_state(ssl);
    else
        SSL_set_accept_state(ssl);
    for (int result; (result = SSL_do_handshake(ssl)) <= 0;) {
        if (SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ) die("the DTLS handshake");
        flush();
        if (!receive(500)) DTLSv1_handle_timeout(ssl);
    }
    flush();
}

static void open_socket(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int on = 1, buffer = BUFFER;
    sock = socket(AF_INET, SOCK_DGRAM, 0);
    if (sock < 0 || bind(sock, (struct sockaddr *)&address, size) < 0) die("bind");
    if (setsockopt(sock, SOL_UDP, UDP_GRO, &on, sizeof on) < 0) die("UDP_GRO");
    setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
    setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    getsockname(sock, (struct sockaddr *)&address, &size);
    printf("{\"type\": \"signal\", \"data\": %d}\n", ntohs(address.sin_port));
    fflush(stdout);
}

static void connect_to(const char *line) {
    const char *port = strstr(line, "\"data\": ");
    if (!port) die("a signal without a port");
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)atoi(port + strlen("\"data\": ")))};
    if (connect(sock, (struct sockaddr *)&address, sizeof address) < 0) die("connect");
}

static void load_pattern(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) die("the pattern");
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    pattern = malloc(size);
    if (!pattern || fread(pattern, 1, size, file) != size) die("the pattern");
    fclose(file);
}

int main(int count, char **arguments) {
    char line[4096];
    setvbuf(stdin, NULL, _IONBF, 0); /* poll() must see what is not read yet */
    if (count != 6) {
        fprintf(stderr, "usage: ceiling offer|answer PATTERN PERIOD HIGH LOW\n");
        return 2;
    }
    offering = strcmp(arguments[1], "offer") == 0;
    load_pattern(arguments[2]);
    period = strtoull(arguments[3], NULL, 10);
    high = strtoull(arguments[4], NULL, 10);
    open_socket();
    if (!fgets(line, sizeof line, stdin)) return 1;
    connect_to(line);
    handshake();
    printf("{\"type\": \"open\"}\n");
    fflush(stdout);
    struct pollfd ready[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = sock, .events = POLLIN}};
    while (poll(ready, 2, -1) > 0) {
        if (ready[1].revents) take(0);
        if (ready[0].revents) {
            if (!fgets(line, sizeof line, stdin)) return 0;
            command(line);
        }
    }
    return 0;
}
