/* An emulated link: datagrams that arrive at one UDP port on loopback are queued, delayed, lost and
 * reordered as a real path would do it, and sent on from another (README.md).
 *
 * link [--flows COUNT] [--seed NUMBER] THERE [BACK]
 *
 * THERE and BACK say what each way is like; BACK is as THERE unless it is given. "rate=20 delay=25 loss=1
 * queue=100 @5 rate=2 @8 rate=20" is a link of 20 Mbit/s that is slower from the fifth to the eighth second.
 *
 * Each flow has two ends and two ports, each of which stands for one end: what is sent to it goes to that end,
 * whose address the benchmark tells or else its first datagram.
 * All flows share the link. The program speaks with the benchmark in JSON lines (README.md).
 *
 * Packets are numbered, queued and lost in the order of the kernel's receive timestamps, and the queue is
 * computed from these: being woken late makes a packet late, but changes neither rate nor queue. The same
 * packets at the same times therefore meet the same fate for the same seed.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    FLOWS = 8,
    HEADERS = 28,     /* of IPv4 and UDP, which a link carries too */
    LARGEST = 1472,   /* bytes of the largest payload that fits an Ethernet frame */
    PACKETS = 1 << 16, /* under way at once, both ways */
    BATCH = 64,
    CHANGES = 1024,   /* of one way's parameters */
    BINS = 50000,     /* of a histogram, a tenth of a millisecond each */
    INTERVALS = 36000, /* of the time series: an hour */
    BUFFER = 4 << 20, /* of a socket; the kernel may give less */
};

#define MS 1000000LL
#define INTERVAL (100 * MS)
#define TICK (MS / 5) /* Waking up for each packet would cost more than handling it. */
#define NAP (5 * MS)  /* in which no receive buffer may overflow */

typedef int64_t ns;

/* ---- What a way is like. */

struct parameters {
    ns from;      /* since the beginning */
    double rate;  /* bits per second; 0: no limit */
    ns delay;
    ns jitter;    /* added at most, evenly distributed; packets keep their order */
    ns queue;     /* the longest wait: a packet that would wait longer is dropped */
    double loss;  /* share of the packets that the link carries and loses */
    double burst; /* mean length of a run of lost packets (Gilbert's model); up to 1: each by itself */
    double reorder; /* share of the packets that are held back, so that later ones overtake them */
    ns hold;      /* for so long */
};

struct packet {
    ns arrived, transmission, leaves, due; /* leaves the queue, is due at the other end */
    uint64_t number;
    int flow, held;
    size_t size;
    unsigned char bytes[LARGEST];
};

struct histogram {
    uint64_t count, bins[BINS];
    double sum;
    ns largest;
};

struct way {
    struct parameters schedule[CHANGES];
    int changes, current;
    ns free_at, last_due, last_arrival;
    uint64_t random_loss, random_jitter, random_reorder, numbered;
    int losing;
    struct packet *heap[PACKETS]; /* by `due`, then `number` */
    size_t under_way;
    struct {
        uint64_t packets, bytes, lost, dropped, reordered, delivered[FLOWS], delivered_bytes[FLOWS];
        struct histogram queue;
        struct {
            uint32_t bytes[FLOWS], packets;
            double queue;
        } series[INTERVALS];
    } count;
};

static struct way ways[2]; /* from end 0, from end 1 */
static struct packet pool[PACKETS], *idle[PACKETS];
static size_t idle_count;
static int socks[FLOWS][2]; /* standing for each end */
static struct sockaddr_in ends[FLOWS][2];
static int flows = 1;
static ns begun_at = INT64_MAX;
static struct histogram lateness;
static uint64_t oversized;
static uint32_t missed[FLOWS][2]; /* counted by the kernel: the program was too slow */
static uint32_t missed_before[FLOWS][2];

static void die(const char *what) {
    printf("{\"type\": \"failed\", \"message\": \"%s: %s\"}\n", what, strerror(errno));
    fflush(stdout);
    exit(1);
}

static ns clock_ns(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (ns)t.tv_sec * 1000 * MS + t.tv_nsec;
}

static ns now(void) { return clock_ns(CLOCK_MONOTONIC); }

/* SplitMix64: small, seeded by any number, and good enough for this. */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static double uniform(uint64_t *state) { return (double)(next_random(state) >> 11) * 0x1p-53; }

static void record(struct histogram *histogram, ns value) {
    if (value < 0) value = 0;
    ns bin = value * 10 / MS;
    histogram->bins[bin < BINS ? bin : BINS - 1]++;
    histogram->count++;
    histogram->sum += (double)value;
    if (value > histogram->largest) histogram->largest = value;
}

/* Milliseconds that so much of what was recorded does not exceed. */
static double percentile(const struct histogram *histogram, double share) {
    uint64_t rank = (uint64_t)ceil(share * (double)histogram->count), seen = 0;
    for (int bin = 0; bin < BINS; bin++) {
        seen += histogram->bins[bin];
        if (seen >= rank && seen) return (bin + 1) / 10.0;
    }
    return 0;
}

/* ---- A way: what happens to a packet is settled when it arrives, except for a change of the rate. */

static int earlier(const struct packet *a, const struct packet *b) {
    return a->due != b->due ? a->due < b->due : a->number < b->number;
}

static void sink(struct way *way, size_t at) {
    for (;;) {
        size_t first = at, left = 2 * at + 1, right = left + 1;
        if (left < way->under_way && earlier(way->heap[left], way->heap[first])) first = left;
        if (right < way->under_way && earlier(way->heap[right], way->heap[first])) first = right;
        if (first == at) return;
        struct packet *moved = way->heap[at];
        way->heap[at] = way->heap[first];
        way->heap[first] = moved;
        at = first;
    }
}

static void push(struct way *way, struct packet *packet) {
    size_t at = way->under_way++;
    for (; at && earlier(packet, way->heap[(at - 1) / 2]); at = (at - 1) / 2)
        way->heap[at] = way->heap[(at - 1) / 2];
    way->heap[at] = packet;
}

static struct packet *pop(struct way *way) {
    struct packet *packet = way->heap[0];
    way->heap[0] = way->heap[--way->under_way];
    sink(way, 0);
    return packet;
}

/* `leaves` of what has not left at `when`, after the rate has changed there: the bits that wait are the same. */
static ns rescaled(ns leaves, ns when, double before, double after) {
    if (leaves <= when) return leaves;
    return after ? when + (ns)((double)(leaves - when) * before / after) : when;
}

/* Go on to the parameters that hold at `when`. */
static void advance(struct way *way, ns when) {
    while (way->current + 1 < way->changes && when - begun_at >= way->schedule[way->current + 1].from) {
        double before = way->schedule[way->current].rate;
        const struct parameters *next = &way->schedule[++way->current];
        if (before == next->rate) continue;
        ns change = begun_at + next->from;
        way->free_at = rescaled(way->free_at, change, before, next->rate);
        way->last_due = 0;
        for (size_t i = 0; i < way->under_way; i++) {
            struct packet *packet = way->heap[i];
            ns leaves = rescaled(packet->leaves, change, before, next->rate);
            packet->due += leaves - packet->leaves;
            packet->leaves = leaves;
            if (!packet->held && packet->due > way->last_due) way->last_due = packet->due;
        }
        for (size_t i = way->under_way / 2; i-- > 0;) sink(way, i);
    }
}

static int lose(struct way *way, const struct parameters *p) {
    double chance = uniform(&way->random_loss);
    if (p->burst <= 1 || p->loss >= 1) return chance < p->loss;
    way->losing = way->losing ? chance >= 1 / p->burst : chance < p->loss / (1 - p->loss) / p->burst;
    return way->losing;
}

/* A packet has arrived: whether it is under way now. Until the link has begun none is lost. */
static int take(struct way *way, struct packet *packet) {
    if (packet->size > LARGEST) {
        oversized++;
        return 0;
    }
    if (packet->arrived < way->last_arrival) packet->arrived = way->last_arrival;
    way->last_arrival = packet->arrived;
    advance(way, packet->arrived);
    const struct parameters *p = &way->schedule[way->current];
    double bytes = (double)(packet->size + HEADERS);
    int counts = packet->arrived >= begun_at;
    if (counts) {
        way->count.packets++;
        way->count.bytes += packet->size + HEADERS;
    }
    ns starts = way->free_at > packet->arrived ? way->free_at : packet->arrived;
    if (starts - packet->arrived > p->queue) {
        if (counts) way->count.dropped++;
        return 0;
    }
    packet->transmission = p->rate ? (ns)(bytes * 8e9 / p->rate) : 0;
    packet->leaves = way->free_at = starts + packet->transmission;
    packet->due = packet->leaves + p->delay + (ns)((double)p->jitter * uniform(&way->random_jitter));
    packet->held = uniform(&way->random_reorder) < p->reorder;
    if (counts && lose(way, p)) {
        way->count.lost++;
        return 0;
    }
    if (packet->due < way->last_due) packet->due = way->last_due;
    if (packet->held) {
        packet->due += p->hold;
        if (counts) way->count.reordered++;
    } else {
        way->last_due = packet->due;
    }
    packet->number = way->numbered++;
    push(way, packet);
    return 1;
}

/* ---- Sockets. */

/* Read what has come from that end, at most a batch for each flow; whether there may be more. */
static int receive(int from) {
    static union {
        char bytes[CMSG_SPACE(sizeof(struct timespec)) + CMSG_SPACE(sizeof(uint32_t))];
        struct cmsghdr align;
    } control[BATCH];
    struct packet *arrivals[FLOWS * BATCH];
    struct sockaddr_in sources[BATCH];
    int count = 0, more = 0;
    ns offset = now() - clock_ns(CLOCK_REALTIME); /* timestamps are of that clock */
    for (int flow = 0; flow < flows; flow++) {
        struct mmsghdr messages[BATCH] = {0};
        struct iovec parts[BATCH];
        if (idle_count < BATCH) die("too many packets are under way");
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){idle[idle_count - 1 - (size_t)i]->bytes, LARGEST};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &sources[i],
                                                  .msg_namelen = sizeof sources[i],
                                                  .msg_iov = &parts[i],
                                                  .msg_iovlen = 1,
                                                  .msg_control = &control[i],
                                                  .msg_controllen = sizeof control[i]};
        }
        int got = recvmmsg(socks[flow][1 - from], messages, BATCH, MSG_DONTWAIT | MSG_TRUNC, NULL);
        if (got < 0) {
            if (errno == EAGAIN || errno == EINTR || errno == ECONNREFUSED) continue;
            die("recvmmsg");
        }
        more |= got == BATCH;
        if (got && !ends[flow][from].sin_port) ends[flow][from] = sources[0];
        for (int i = 0; i < got; i++) {
            struct msghdr *message = &messages[i].msg_hdr;
            struct packet *packet = idle[--idle_count];
            packet->arrived = now();
            for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
                struct timespec t;
                if (c->cmsg_type == SCM_TIMESTAMPNS) {
                    memcpy(&t, CMSG_DATA(c), sizeof t);
                    packet->arrived = (ns)t.tv_sec * 1000 * MS + t.tv_nsec + offset;
                } else if (c->cmsg_type == SO_RXQ_OVFL) {
                    memcpy(&missed[flow][1 - from], CMSG_DATA(c), sizeof(uint32_t));
                }
            }
            packet->flow = flow;
            packet->size = messages[i].msg_len;
            int at = count++;
            for (; at && arrivals[at - 1]->arrived > packet->arrived; at--) arrivals[at] = arrivals[at - 1];
            arrivals[at] = packet;
        }
    }
    for (int i = 0; i < count; i++)
        if (!take(&ways[from], arrivals[i])) idle[idle_count++] = arrivals[i];
    return more;
}

static void count_delivered(struct way *way, const struct packet *packet, ns time) {
    if (packet->arrived < begun_at) return;
    ns waited = packet->leaves - packet->arrived - packet->transmission;
    uint64_t interval = (uint64_t)((packet->leaves - begun_at) / INTERVAL);
    way->count.delivered[packet->flow]++;
    way->count.delivered_bytes[packet->flow] += packet->size + HEADERS;
    record(&way->count.queue, waited);
    record(&lateness, time - packet->due);
    if (interval < INTERVALS) {
        way->count.series[interval].bytes[packet->flow] += (uint32_t)(packet->size + HEADERS);
        way->count.series[interval].packets++;
        way->count.series[interval].queue += waited > 0 ? (double)waited : 0;
    }
}

static void send_batch(int from, int flow, struct packet **packets, int count) {
    struct mmsghdr messages[BATCH] = {0};
    struct iovec parts[BATCH];
    struct sockaddr_in *end = &ends[flow][1 - from];
    for (int i = 0; i < count; i++) {
        parts[i] = (struct iovec){packets[i]->bytes, packets[i]->size};
        messages[i].msg_hdr =
            (struct msghdr){.msg_name = end, .msg_namelen = sizeof *end, .msg_iov = &parts[i], .msg_iovlen = 1};
    }
    for (int sent = 0; end->sin_port && sent < count;) {
        int done = sendmmsg(socks[flow][from], messages + sent, (unsigned)(count - sent), 0);
        if (done < 0 && errno != EINTR && errno != ECONNREFUSED) die("sendmmsg");
        sent += done > 0 ? done : 1;
    }
    for (int i = 0; i < count; i++) idle[idle_count++] = packets[i];
}

/* Send what is due. */
static void deliver(int from) {
    struct way *way = &ways[from];
    struct packet *batch[BATCH];
    int count = 0;
    ns time = now();
    advance(way, time);
    while (way->under_way && way->heap[0]->due <= time) {
        struct packet *packet = pop(way);
        count_delivered(way, packet, time);
        if (count == BATCH || (count && batch[0]->flow != packet->flow)) {
            send_batch(from, batch[0]->flow, batch, count);
            count = 0;
        }
        batch[count++] = packet;
    }
    if (count) send_batch(from, batch[0]->flow, batch, count);
}

static void open_sockets(void) {
    const int kept[] = {SO_TIMESTAMPNS, SO_RXQ_OVFL};
    printf("{\"type\": \"ready\", \"ports\": [");
    for (int flow = 0; flow < flows; flow++) {
        in_port_t ports[2];
        for (int end = 0; end < 2; end++) {
            struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
            socklen_t size = sizeof address;
            int on = 1, buffer = BUFFER, sock = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
            if (sock < 0 || bind(sock, (struct sockaddr *)&address, size) < 0) die("bind");
            for (size_t i = 0; i < 2; i++)
                if (setsockopt(sock, SOL_SOCKET, kept[i], &on, sizeof on) < 0) die("setsockopt");
            setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
            setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
            getsockname(sock, (struct sockaddr *)&address, &size);
            socks[flow][end] = sock;
            ports[end] = ntohs(address.sin_port);
        }
        printf("%s[%d, %d]", flow ? ", " : "", ports[0], ports[1]);
    }
    printf("]}\n");
    fflush(stdout);
}

/* ---- What the benchmark asks for. */

static void begin(void) {
    begun_at = now();
    memset(&lateness, 0, sizeof lateness);
    memcpy(missed_before, missed, sizeof missed);
    for (int from = 0; from < 2; from++) memset(&ways[from].count, 0, sizeof ways[from].count);
    oversized = 0;
    printf("{\"type\": \"begun\"}\n");
}

static void report_way(const struct way *way, ns until) {
    const struct histogram *queue = &way->count.queue;
    printf("{\"packets\": %llu, \"bytes\": %llu, \"lost\": %llu, \"dropped\": %llu, \"reordered\": %llu",
           (unsigned long long)way->count.packets, (unsigned long long)way->count.bytes,
           (unsigned long long)way->count.lost, (unsigned long long)way->count.dropped,
           (unsigned long long)way->count.reordered);
    printf(", \"under_way\": %zu, \"queue_mean_ms\": %.3f, \"queue_p95_ms\": %.1f, \"queue_max_ms\": %.3f",
           way->under_way, queue->count ? queue->sum / (double)queue->count / 1e6 : 0, percentile(queue, 0.95),
           (double)queue->largest / 1e6);
    printf(", \"flows\": [");
    for (int flow = 0; flow < flows; flow++)
        printf("%s{\"delivered\": %llu, \"bytes\": %llu}", flow ? ", " : "",
               (unsigned long long)way->count.delivered[flow],
               (unsigned long long)way->count.delivered_bytes[flow]);
    printf("], \"series\": [");
    for (ns i = 0; i < INTERVALS && (i + 1) * INTERVAL <= until; i++) {
        uint32_t packets = way->count.series[i].packets;
        printf("%s{\"queue_ms\": %.2f, \"mbit\": [", i ? ", " : "",
               packets ? way->count.series[i].queue / packets / 1e6 : 0);
        for (int flow = 0; flow < flows; flow++)
            printf("%s%.3f", flow ? ", " : "", way->count.series[i].bytes[flow] * 8 / ((double)INTERVAL / 1e3));
        printf("]}");
    }
    printf("]}");
}

static void report(void) {
    uint32_t overrun = 0;
    for (int flow = 0; flow < flows; flow++)
        for (int end = 0; end < 2; end++) overrun += missed[flow][end] - missed_before[flow][end];
    printf("{\"type\": \"carried\", \"overrun\": %u, \"oversized\": %llu, \"late_p99_ms\": %.1f, "
           "\"late_max_ms\": %.3f, \"ways\": [",
           overrun, (unsigned long long)oversized, percentile(&lateness, 0.99), (double)lateness.largest / 1e6);
    for (int from = 0; from < 2; from++) {
        if (from) printf(", ");
        report_way(&ways[from], begun_at == INT64_MAX ? 0 : now() - begun_at);
    }
    printf("]}\n");
}

static int field(const char *line, const char *name) {
    char quoted[32];
    snprintf(quoted, sizeof quoted, "\"%s\": ", name);
    const char *found = strstr(line, quoted);
    if (!found) die("a command that lacks a field");
    return atoi(found + strlen(quoted));
}

static void command(const char *line) {
    if (strstr(line, "\"begin\"")) {
        begin();
    } else if (strstr(line, "\"report\"")) {
        report();
    } else {
        int flow = field(line, "flow"), end = field(line, "end");
        char address[16];
        const char *found = strstr(line, "\"address\": \"");
        if (flow < 0 || flow >= flows || end < 0 || end > 1 || !found ||
            sscanf(found, "\"address\": \"%15[0-9.]", address) != 1)
            die("a command that is none");
        ends[flow][end] =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)field(line, "port"))};
        if (inet_pton(AF_INET, address, &ends[flow][end].sin_addr) != 1) die("an address that is none");
    }
    fflush(stdout);
}

/* How long nothing can become due; 0 if nothing is under way. */
static ns nap(void) {
    ns time = now(), until = INT64_MAX, longest = NAP;
    for (int from = 0; from < 2; from++) {
        const struct way *way = &ways[from];
        if (way->under_way && way->heap[0]->due < until) until = way->heap[0]->due;
        if (way->schedule[way->current].delay < longest) longest = way->schedule[way->current].delay;
    }
    if (until == INT64_MAX) return 0;
    if (until > time + longest) until = time + longest;
    return until > time + TICK ? until - time : TICK;
}

/* ---- Setting up. */

static void usage(const char *what, const char *wrong) {
    fprintf(stderr,
            "link: %s: %s\n"
            "usage: link [--flows COUNT] [--seed NUMBER] THERE [BACK]\n"
            "THERE and BACK: of rate=MBIT delay=MS jitter=MS queue=MS loss=PERCENT burst=PACKETS\n"
            "reorder=PERCENT hold=MS, and @SECONDS before what changes then\n",
            what, wrong);
    exit(2);
}

static double read_number(const char *text, const char *whole) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !(number >= 0) || number > 1e6) usage("not a number of that kind", whole);
    return number;
}

static void set(struct parameters *p, const char *setting) {
    static const char *const names[] = {"rate=", "delay=", "jitter=", "queue=", "loss=",
                                        "burst=", "reorder=", "hold="};
    size_t which = 0;
    while (which < 8 && strncmp(setting, names[which], strlen(names[which])) != 0) which++;
    if (which == 8) usage("no such setting", setting);
    double number = read_number(setting + strlen(names[which]), setting);
    if ((which == 4 || which == 6) && number > 100) usage("more than all", setting);
    switch (which) {
    case 0: p->rate = number * 1e6; break;
    case 1: p->delay = (ns)(number * MS); break;
    case 2: p->jitter = (ns)(number * MS); break;
    case 3: p->queue = (ns)(number * MS); break;
    case 4: p->loss = number / 100; break;
    case 5: p->burst = number; break;
    case 6: p->reorder = number / 100; break;
    case 7: p->hold = (ns)(number * MS); break;
    }
}

static void read_way(struct way *way, const char *text, uint64_t seed) {
    char copy[1 << 15];
    if (strlen(text) >= sizeof copy) usage("too long", "a schedule");
    strcpy(copy, text);
    way->random_loss = seed;
    way->random_jitter = next_random(&seed);
    way->random_reorder = next_random(&seed);
    way->schedule[0] = (struct parameters){.queue = 100 * MS, .hold = 5 * MS};
    way->changes = 1;
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        struct parameters *last = &way->schedule[way->changes - 1];
        if (*word != '@') {
            set(last, word);
            continue;
        }
        if (way->changes == CHANGES) usage("too many changes", word);
        last[1] = *last;
        last[1].from = (ns)(read_number(word + 1, word) * 1000 * MS);
        if (last[1].from < last->from) usage("earlier than the one before", word);
        way->changes++;
    }
}

int main(int count, char **arguments) {
    struct pollfd ready[1 + 2 * FLOWS] = {{.fd = STDIN_FILENO, .events = POLLIN}};
    uint64_t seed = 1;
    char line[4096];
    int at = 1;
    for (; at + 1 < count && strncmp(arguments[at], "--", 2) == 0; at += 2) {
        double number = read_number(arguments[at + 1], arguments[at]);
        if (strcmp(arguments[at], "--seed") == 0)
            seed = (uint64_t)number;
        else if (strcmp(arguments[at], "--flows") == 0 && number >= 1 && number <= FLOWS)
            flows = (int)number;
        else
            usage("no such option or not so many", arguments[at]);
    }
    if (at >= count || at + 2 < count) usage("one way or both", "missing, or more than that");
    read_way(&ways[0], arguments[at], 2 * seed);
    read_way(&ways[1], arguments[count - 1], 2 * seed + 1);
    for (size_t i = 0; i < PACKETS; i++) idle[idle_count++] = &pool[PACKETS - 1 - i];
    setvbuf(stdin, NULL, _IONBF, 0); /* poll() must see what is not read yet */
    prctl(PR_SET_TIMERSLACK, 1UL);
    struct sched_param first = {.sched_priority = 1};
    sched_setscheduler(0, SCHED_FIFO, &first); /* where allowed: a link does not wait for its users */
    open_sockets();
    for (int flow = 0; flow < flows; flow++)
        for (int end = 0; end < 2; end++)
            ready[1 + 2 * flow + end] = (struct pollfd){.fd = socks[flow][end], .events = POLLIN};
    for (;;) {
        int more = receive(0);
        more |= receive(1);
        deliver(0);
        deliver(1);
        if (more) continue;
        /* With packets under way, sleep until one is due or one that has not come yet could be: when exactly
         * it comes the kernel writes down. */
        ns wait = nap();
        struct timespec timeout = {0, wait};
        ppoll(ready, wait ? 1 : (nfds_t)(1 + 2 * flows), wait ? &timeout : NULL, NULL);
        if (ready[0].revents) {
            if (!fgets(line, sizeof line, stdin)) return 0;
            command(line);
        }
    }
}
