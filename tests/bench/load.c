/*
 * Closed-loop load on a Unix stream socket whose peer speaks "u32 big-endian length, then a body".
 *
 * signerd and ssh-agent frame their messages alike, so one program drives both and knows neither: the
 * harness hands it the request as raw bytes, says where to patch an id and a counter, and which bytes mark
 * an answer as a success. N connections, each with one request in flight, one thread, epoll.
 *
 * Standard output: one JSON object. "requests" are the successes completed inside the window, "answered"
 * all of them and "failures" all that went wrong, from the first connection to the last drained answer.
 * SIGTERM closes the window early. Exit status 2: the load could not be put on at all.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 1024
#define MAX_EXPECTATIONS 8
#define MAX_COUNTERS 512
#define COUNTER_DIGITS 12
#define PREFIX 4
#define LARGEST_ANSWER (64u << 20)
#define DRAIN_NS (5ull * 1000000000ull)
#define FAILURE_BYTES 240

struct bytes {
    uint8_t *at;
    size_t size;
};

/* An answer is a success when `pattern` starts `times` times within its first `within` bytes (0: anywhere). */
struct expectation {
    struct bytes pattern;
    size_t within;
    size_t times;
};

struct connection {
    int fd;
    bool busy, writing;
    uint32_t id;
    uint64_t sent_at;
    uint8_t *out;
    size_t written;
    uint8_t *in;
    size_t in_size, in_room;
};

static struct bytes hello, greeting, request, echo;
static struct expectation expectations[MAX_EXPECTATIONS];
static size_t expectation_count, counters[MAX_COUNTERS], counter_count;
static bool has_id;
static size_t id_at;
/* Ids start above 65,535: msgpack then writes them as five bytes both ways, so that they can be patched in place. */
static uint32_t next_id = 0x01000000u;
static uint64_t next_counter;
static const char *keep_path;
static struct bytes kept;

static int epoll_fd;
static uint64_t window_begin, window_end;
static uint32_t *latencies;
static size_t latency_count, latency_room;
static uint64_t failures, answered;
static char first_failure[2 * FAILURE_BYTES + 1];
static volatile sig_atomic_t stopped;

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static void *room(void *at, size_t size)
{
    void *grown = realloc(at, size ? size : 1);
    if (!grown)
        die("out of memory");
    return grown;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void on_term(int number)
{
    (void)number;
    stopped = 1;
}

static struct bytes read_file(const char *path)
{
    struct bytes content = {NULL, 0};
    FILE *file = fopen(path, "rb");
    if (!file)
        die("cannot read %s: %s", path, strerror(errno));
    for (;;) {
        content.at = room(content.at, content.size + 65536);
        size_t got = fread(content.at + content.size, 1, 65536, file);
        if (!got)
            break;
        content.size += got;
    }
    fclose(file);
    return content;
}

static struct bytes parse_hex(const char *text)
{
    struct bytes parsed = {room(NULL, strlen(text) / 2), strlen(text) / 2};
    for (size_t i = 0; i < parsed.size; i++) {
        unsigned value;
        if (sscanf(text + 2 * i, "%2x", &value) != 1)
            die("not hex: %s", text);
        parsed.at[i] = (uint8_t)value;
    }
    if (!parsed.size || strlen(text) % 2)
        die("not hex: %s", text);
    return parsed;
}

/* "HEX:WITHIN:TIMES" */
static void parse_expectation(const char *text)
{
    char hex[256];
    struct expectation *e = &expectations[expectation_count];
    if (expectation_count == MAX_EXPECTATIONS)
        die("more than %d expectations", MAX_EXPECTATIONS);
    if (sscanf(text, "%255[0-9a-f]:%zu:%zu", hex, &e->within, &e->times) != 3)
        die("not an expectation: %s", text);
    e->pattern = parse_hex(hex);
    expectation_count++;
}

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put_u32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24), at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8), at[3] = (uint8_t)value;
}

static void put_counter(uint8_t *at, uint64_t value)
{
    for (int i = COUNTER_DIGITS - 1; i >= 0; i--, value >>= 4)
        at[i] = (uint8_t)"0123456789abcdef"[value & 15];
}

static size_t occurrences(const uint8_t *body, size_t size, const struct expectation *e)
{
    size_t found = 0;
    size_t limit = e->within && e->within - 1 + e->pattern.size < size ? e->within - 1 + e->pattern.size : size;
    const uint8_t *end = body + limit;
    while ((body = memmem(body, (size_t)(end - body), e->pattern.at, e->pattern.size)) != NULL) {
        found++;
        body += e->pattern.size;
    }
    return found;
}

static bool is_success(const struct connection *c, const uint8_t *body, size_t size)
{
    for (size_t i = 0; i < expectation_count; i++)
        if (occurrences(body, size, &expectations[i]) != expectations[i].times)
            return false;
    if (has_id && echo.size) {
        uint8_t wanted[64];
        memcpy(wanted, echo.at, echo.size);
        put_u32(wanted + echo.size, c->id);
        return memmem(body, size, wanted, echo.size + 4) != NULL;
    }
    return true;
}

static void note_failure(const uint8_t *body, size_t size)
{
    failures++;
    if (body && !first_failure[0])
        for (size_t i = 0; i < size && i < FAILURE_BYTES; i++)
            sprintf(first_failure + 2 * i, "%02x", body[i]);
}

static void record(uint64_t taken)
{
    if (latency_count == latency_room)
        latencies = room(latencies, (latency_room = latency_room ? 2 * latency_room : 1 << 16) * sizeof *latencies);
    /* Tenths of a microsecond: 32 bits hold seven minutes. */
    latencies[latency_count++] = (uint32_t)(taken / 100);
}

static void lose(struct connection *c)
{
    note_failure(NULL, 0);
    epoll_ctl(epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    close(c->fd);
    c->fd = -1;
    c->busy = false;
}

static void want_writes(struct connection *c, bool writing)
{
    struct epoll_event event = {.events = EPOLLIN | (writing ? EPOLLOUT : 0u), .data.ptr = c};
    if (c->writing != writing && epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event))
        die("epoll_ctl: %s", strerror(errno));
    c->writing = writing;
}

static void flush_request(struct connection *c)
{
    while (c->written < request.size) {
        ssize_t sent = send(c->fd, c->out + c->written, request.size - c->written, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            want_writes(c, true);
            return;
        }
        if (sent < 0) {
            lose(c);
            return;
        }
        c->written += (size_t)sent;
    }
    want_writes(c, false);
}

static void start_request(struct connection *c)
{
    c->id = next_id++;
    if (has_id)
        put_u32(c->out + id_at, c->id);
    for (size_t i = 0; i < counter_count; i++)
        put_counter(c->out + counters[i], next_counter);
    next_counter++;
    c->written = 0;
    c->busy = true;
    c->sent_at = now_ns();
    flush_request(c);
}

/* Called for each whole answer. A second answer to one request, or one that nobody asked for, is a failure. */
static void finish_request(struct connection *c, const uint8_t *body, size_t size)
{
    uint64_t now = now_ns();
    if (!c->busy || !is_success(c, body, size)) {
        note_failure(body, size);
    } else {
        answered++;
        if (now >= window_begin && now < window_end && !stopped)
            record(now - c->sent_at);
        if (keep_path) {
            kept.at = room(kept.at, size);
            memcpy(kept.at, body, size);
            kept.size = size;
        }
    }
    c->busy = false;
}

static void receive(struct connection *c)
{
    for (;;) {
        if (c->in_room - c->in_size < 65536)
            c->in = room(c->in, c->in_room += 65536);
        ssize_t got = recv(c->fd, c->in + c->in_size, c->in_room - c->in_size, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            lose(c);
            return;
        }
        c->in_size += (size_t)got;
        size_t done = 0;
        while (c->in_size - done >= PREFIX) {
            size_t size = get_u32(c->in + done);
            if (size > LARGEST_ANSWER) {
                lose(c);
                return;
            }
            if (c->in_size - done - PREFIX < size)
                break;
            finish_request(c, c->in + done + PREFIX, size);
            done += PREFIX + size;
        }
        memmove(c->in, c->in + done, c->in_size - done);
        c->in_size -= done;
        /* One request is in flight, so what came with its last byte is all there is: no second recv to learn EAGAIN. */
        if (!c->busy)
            return;
    }
}

static void greet(int fd)
{
    struct timeval patience = {.tv_sec = 5};
    struct bytes frame = {room(NULL, LARGEST_ANSWER >> 4), 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send(fd, hello.at, hello.size, MSG_NOSIGNAL) != (ssize_t)hello.size)
        die("cannot send hello: %s", strerror(errno));
    for (size_t wanted = PREFIX; frame.size < wanted;) {
        ssize_t got = recv(fd, frame.at + frame.size, wanted - frame.size, 0);
        if (got <= 0)
            die("no answer to hello: %s", got ? strerror(errno) : "closed by the peer");
        frame.size += (size_t)got;
        if (frame.size == PREFIX)
            wanted += get_u32(frame.at);
        if (wanted > LARGEST_ANSWER >> 4)
            die("the answer to hello is too large");
    }
    if (greeting.size && !memmem(frame.at, frame.size, greeting.at, greeting.size))
        die("the answer to hello is none");
    free(frame.at);
}

static void open_connection(struct connection *c, const struct sockaddr_un *address)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)address, sizeof *address))
        die("cannot connect to %s: %s", address->sun_path, strerror(errno));
    if (hello.size)
        greet(c->fd);
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event))
        die("cannot watch a connection: %s", strerror(errno));
    c->out = room(NULL, request.size);
    memcpy(c->out, request.at, request.size);
}

static bool any_busy(const struct connection *all, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (all[i].busy)
            return true;
    return false;
}

/* Runs until `until`, or until nothing is in flight; while `again`, each answer starts the next request. */
static void turn(struct connection *all, size_t count, uint64_t until, bool again)
{
    struct epoll_event events[64];
    for (uint64_t now = now_ns(); now < until && any_busy(all, count) && !(again && stopped); now = now_ns()) {
        int ready = epoll_wait(epoll_fd, events, 64, (int)((until - now) / 1000000 + 1));
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                flush_request(c);
            if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                receive(c);
            if (again && c->fd >= 0 && !c->busy)
                start_request(c);
        }
    }
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Nearest rank over the whole sample, in microseconds. */
static double quantile(size_t per_thousand)
{
    if (!latency_count)
        return 0;
    size_t rank = (latency_count * per_thousand + 999) / 1000;
    return latencies[rank - 1] / 10.0;
}

/*
 * The latency below which 99 % of the time was spent. A closed loop that stalls for a second sends nothing
 * meanwhile, so the stall is one latency among thousands and p99 does not see it; this figure does.
 */
static double p99_by_time(void)
{
    uint64_t total = 0, below = 0;
    for (size_t i = 0; i < latency_count; i++)
        total += latencies[i];
    for (size_t i = 0; i < latency_count; i++)
        if ((below += latencies[i]) * 100 >= total * 99)
            return latencies[i] / 10.0;
    return 0;
}

static void report(size_t connections)
{
    double seconds = (double)(window_end - window_begin) / 1e9;
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    printf("{\"connections\": %zu, \"requests\": %zu, \"answered\": %llu, \"failures\": %llu, \"seconds\": %.6f, \"rate\": %.1f, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f, \"p99_by_time_us\": %.1f, \"max_us\": %.1f, \"first_failure\": \"%s\"}\n",
           connections, latency_count, (unsigned long long)answered, (unsigned long long)failures, seconds, (double)latency_count / seconds,
           quantile(500), quantile(990), p99_by_time(), quantile(1000), first_failure);
    if (keep_path && kept.size) {
        FILE *file = fopen(keep_path, "wb");
        if (!file || fwrite(kept.at, 1, kept.size, file) != kept.size || fclose(file))
            die("cannot write %s: %s", keep_path, strerror(errno));
    }
}

static void check_offset(size_t offset, size_t width)
{
    if (offset < PREFIX || width > request.size || offset > request.size - width)
        die("offset %zu lies outside the request", offset);
}

int main(int argc, char **argv)
{
    static struct connection all[MAX_CONNECTIONS];
    static const struct option options[] = {
        {"socket", 1, 0, 's'},  {"connections", 1, 0, 'c'}, {"seconds", 1, 0, 't'}, {"warm", 1, 0, 'w'},
        {"hello", 1, 0, 'h'},   {"greeting", 1, 0, 'g'},    {"request", 1, 0, 'r'}, {"id", 1, 0, 'i'},
        {"echo", 1, 0, 'e'},    {"counter", 1, 0, 'n'},     {"first", 1, 0, 'f'},   {"expect", 1, 0, 'x'},
        {"keep", 1, 0, 'k'},    {0, 0, 0, 0},
    };
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t connections = 1;
    double seconds = 2, warm = 0.5;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 's':
            if (strlen(optarg) >= sizeof address.sun_path)
                die("the socket's path is too long");
            strcpy(address.sun_path, optarg);
            break;
        case 'c': connections = strtoul(optarg, NULL, 10); break;
        case 't': seconds = strtod(optarg, NULL); break;
        case 'w': warm = strtod(optarg, NULL); break;
        case 'h': hello = read_file(optarg); break;
        case 'g': greeting = parse_hex(optarg); break;
        case 'r': request = read_file(optarg); break;
        case 'i': has_id = true, id_at = strtoul(optarg, NULL, 10); break;
        case 'e': echo = parse_hex(optarg); break;
        case 'n':
            if (counter_count == MAX_COUNTERS)
                die("more than %d counters", MAX_COUNTERS);
            counters[counter_count++] = strtoul(optarg, NULL, 10);
            break;
        case 'f': next_counter = strtoull(optarg, NULL, 10); break;
        case 'x': parse_expectation(optarg); break;
        case 'k': keep_path = optarg; break;
        default: return 2;
        }
    }
    if (!address.sun_path[0] || !request.size || !expectation_count || !connections || connections > MAX_CONNECTIONS ||
        seconds <= 0 || warm < 0 || echo.size > 32)
        die("needs --socket, --request, --expect, 1 to %d --connections, --seconds > 0", MAX_CONNECTIONS);
    if (has_id)
        check_offset(id_at, 4);
    for (size_t i = 0; i < counter_count; i++)
        check_offset(counters[i], COUNTER_DIGITS);
    sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_term}, NULL);
    if ((epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll_create1: %s", strerror(errno));

    for (size_t i = 0; i < connections; i++)
        open_connection(&all[i], &address);
    window_begin = now_ns() + (uint64_t)(warm * 1e9);
    window_end = window_begin + (uint64_t)(seconds * 1e9);
    for (size_t i = 0; i < connections; i++)
        start_request(&all[i]);
    turn(all, connections, window_begin, true);
    fputs("measuring\n", stderr);
    turn(all, connections, window_end, true);
    if (stopped || now_ns() < window_end)
        window_end = now_ns() > window_begin ? now_ns() : window_begin + 1;
    turn(all, connections, now_ns() + DRAIN_NS, false);
    for (size_t i = 0; i < connections; i++)
        if (all[i].busy)
            note_failure(NULL, 0);
    report(connections);
    return 0;
}
