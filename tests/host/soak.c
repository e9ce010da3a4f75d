/* soak.c -- a host trains a board over a line that loses, changes and repeats; counts the steps.
 *
 * The firmware's link and store run here with a generated network behind a port in memory. The host
 * is written from docs/protocol.md, section 3: a window of requests, go-back, retries, HELLO after
 * a restart, and its log again from the state that the board has then. The line drops, flips,
 * inserts and repeats bytes, repeats frames and delays replies; the board is reset at any time.
 *
 *     soak STEPS
 *
 * Step n trains sample n, whatever happens, so the reference, the same network trained beside,
 * knows every state. Prints one JSON object. Its faults: `extra` steps that the board did again or
 * out of their order, `missing` ones that it reported as done or saved and does not have, `wrong`
 * weights or outputs that are not the reference's, `unexpected` answers.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpgen_link.h"

/* Not linked but included: a reset clears its variables. bp_link_begin() clears the link's. */
#include "bpgen_store.c"

#define SEED 0x9E3779B97F4A7C15u
#define FAULT_GAP 120u /* bytes between two faults of the line, on the average */
#define RESET_GAP 900u /* turns between two resets */
#define SAVE_EVERY 250u /* steps */
#define GIVE_UP 200 /* faults found */
#define MOST_WAITING 8

static struct {
    long steps, requests, byte_faults, resets, saves, retries, hellos, go_backs;
    long extra, missing, wrong, unexpected;
} totals;

static uint64_t random_state = SEED;

static uint32_t random32(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 2685821657736338717u) >> 32);
}

static int one_in(uint32_t n)
{
    return random32() % n == 0;
}

/* ---- The line ------------------------------------------------------------------------------- */

typedef struct {
    uint8_t bytes[4096];
    size_t n;
} line_t;

static line_t to_board, to_host, late, sent; /* `sent`: what the board writes in one poll */
static unsigned late_for; /* turns until `late` goes to the host */
static uint32_t until_fault = 50;

static void append(line_t *line, uint8_t byte)
{
    if (line->n < sizeof line->bytes) {
        line->bytes[line->n++] = byte;
    }
}

/* Move bytes to a line through a noisy cable. */
static void carry(line_t *line, const uint8_t *bytes, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (until_fault-- != 0) {
            append(line, bytes[i]);
            continue;
        }
        until_fault = random32() % (2u * FAULT_GAP);
        totals.byte_faults++;
        switch (random32() % 6) {
        case 0: /* lost */
            break;
        case 1:
            append(line, (uint8_t)(bytes[i] ^ 1u << random32() % 8));
            break;
        case 2:
            append(line, (uint8_t)random32());
            break;
        case 3: /* one more */
            append(line, bytes[i]);
            append(line, (uint8_t)random32());
            break;
        case 4:
            append(line, bytes[i]);
            append(line, bytes[i]);
            break;
        default:
            append(line, 0);
            break;
        }
    }
}

static void carry_frame(line_t *line, const uint8_t *bytes, size_t n)
{
    carry(line, bytes, n);
    if (one_in(100)) {
        carry(line, bytes, n);
    }
}

/* ---- The board ------------------------------------------------------------------------------ */

static uint8_t memory[BP_STORE_BYTES];
static uint16_t boots;
static size_t next_read;

int16_t bp_port_read(void)
{
    return next_read < to_board.n ? to_board.bytes[next_read++] : -1;
}

void bp_port_write(uint8_t byte) { append(&sent, byte); }
uint16_t bp_port_lost(void) { return 0; }

uint16_t bp_port_reset(uint8_t *cause)
{
    *cause = BP_RESET_RESET_PIN;
    return boots;
}

uint8_t bp_port_store_read(uint16_t address) { return memory[address]; }

int8_t bp_port_store_write(uint16_t address, const uint8_t *unit)
{
    memcpy(memory + address, unit, BP_STORE_UNIT);
    return 0;
}

int8_t bp_port_store_erase(uint8_t area)
{
    memset(memory + area * sizeof memory / 2, 255, sizeof memory / 2);
    return 0;
}

/* What the board wrote leaves it, now or late. */
static void deliver(void)
{
    if (late_for == 0 && sent.n != 0 && one_in(60)) {
        late = sent;
        late_for = 1 + random32() % 40;
    } else {
        carry_frame(&to_host, sent.bytes, sent.n);
    }
    sent.n = 0;
}

static void reset_board(void)
{
    size_t i;

    /* An answer may be cut where it is, and a request where it is on its way. */
    if (one_in(2)) {
        to_host.n -= to_host.n != 0 ? random32() % to_host.n : 0;
    }
    to_board.n = 0;
    memset(&job, 0, sizeof job);
    for (i = 0; i < sizeof bp_network; i++) {
        ((uint8_t *)&bp_network)[i] = (uint8_t)random32();
    }
    boots++;
    bp_link_begin();
    deliver();
}

/* ---- What must be --------------------------------------------------------------------------- */

/* The reference after `steps` steps. */
typedef struct {
    uint32_t steps;
    net_state_t network;
} snapshot_t;

static snapshot_t reference, saved, saving;

static void make_sample(uint32_t step, int16_t *x, int16_t *t)
{
    uint32_t bits = (step ^ step >> 15) * 0x85EBCA6Bu;
    size_t i;

    for (i = 0; i < BP_NETWORK_N_IN; i++) {
        bits = (bits ^ bits >> 13) * 0xC2B2AE35u;
        x[i] = (int16_t)(bits % 8192u - 4096u);
    }
    for (i = 0; i < BP_NETWORK_N_OUT; i++) {
        t[i] = x[0] > x[i % BP_NETWORK_N_IN + 1 < BP_NETWORK_N_IN ? 1 : 0] ? BP_NETWORK_ONE : 0;
    }
}

/* Do a step on the reference; returns its loss. Its outputs stay in the network. */
static uint64_t advance(void)
{
    int16_t t[BP_NETWORK_N_OUT];
    uint64_t loss;

    make_sample(reference.steps++, reference.network.a0, t);
    net_forward(&reference.network);
    loss = (uint64_t)net_loss(&reference.network, t);
    net_backward(&reference.network, t);
    net_step(&reference.network);
    totals.steps++;
    return loss;
}

static int same_network(void)
{
    const uint8_t *board = (const uint8_t *)&bp_network;
    const uint8_t *ours = (const uint8_t *)&reference.network;

    return memcmp(board + BP_NETWORK_SAVED_START, ours + BP_NETWORK_SAVED_START,
                  BP_NETWORK_SAVED_HEAD) == 0 &&
           memcmp(board + BP_NETWORK_SAVED_TAIL, ours + BP_NETWORK_SAVED_TAIL,
                  BP_NETWORK_SAVED_BYTES - BP_NETWORK_SAVED_HEAD) == 0;
}

/* ---- The host ------------------------------------------------------------------------------- */

typedef struct {
    uint8_t type, seq;
    uint32_t gen, count; /* it raises gen by `count` */
    uint8_t line[2 * BP_LINK_FRAME];
    size_t n;
} request_t;

static request_t waiting[MOST_WAITING]; /* the oldest first */
static size_t n_waiting, bytes_waiting;
static uint16_t session;
static uint8_t seq;
static uint32_t next_gen; /* of the next request to train */
static uint16_t known_boots;
static int greeted;
static unsigned silence, tries;
static uint32_t went_back; /* to this gen, and has not got further; ~0: no */

static void put(uint8_t **p, uint32_t value, int bytes)
{
    for (; bytes != 0; bytes--, value >>= 8) {
        *(*p)++ = (uint8_t)value;
    }
}

static uint32_t get(const uint8_t *p, int bytes)
{
    uint32_t value = 0;

    while (bytes-- != 0) {
        value = value << 8 | p[bytes];
    }
    return value;
}

static uint32_t crc32(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xFFFFFFFFu;

    while (n-- != 0) {
        crc = bp_crc32_byte(crc, *p++);
    }
    return ~crc;
}

static void transmit(const request_t *request)
{
    silence = 0;
    totals.requests++;
    carry_frame(&to_board, request->line, request->n);
}

/* Send a request whose payload ends at p. */
static void ask(uint8_t type, uint32_t gen, uint32_t count, uint8_t *frame, uint8_t *p)
{
    request_t *request = &waiting[n_waiting++];
    uint8_t *code, *out;
    const uint8_t *end;

    frame[0] = type;
    frame[1] = ++seq;
    frame[2] = (uint8_t)session;
    frame[3] = (uint8_t)(session >> 8);
    put(&p, crc32(frame, (size_t)(p - frame)), 4);
    end = p;
    request->type = type;
    request->seq = seq;
    request->gen = gen;
    request->count = count;
    out = request->line;
    *out++ = 0;
    code = out++;
    for (p = frame; p != end; p++) {
        if (*p == 0) {
            *code = (uint8_t)(out - code);
            code = out++;
        } else {
            *out++ = *p;
        }
    }
    *code = (uint8_t)(out - code);
    *out++ = 0;
    request->n = (size_t)(out - request->line);
    bytes_waiting += request->n;
    transmit(request);
}

static void forget_all(void)
{
    n_waiting = 0;
    bytes_waiting = 0;
    tries = 0;
    went_back = ~0u;
}

static void forget_oldest(void)
{
    bytes_waiting -= waiting[0].n;
    n_waiting--;
    memmove(waiting, waiting + 1, n_waiting * sizeof waiting[0]);
    tries = 0;
}

static void hello(void)
{
    uint8_t frame[BP_LINK_FRAME], *p = frame + 4;

    forget_all();
    greeted = 0;
    session++;
    put(&p, BP_PROTOCOL, 1);
    put(&p, BP_PROTOCOL, 1);
    totals.hellos++;
    ask(BP_HELLO, 0, 0, frame, p);
}

/* A fault was found: nothing is known of the board any more. A new one, and a new log. */
static void start_over(void)
{
    memset(memory, 255, sizeof memory);
    memset(&reference, 0, sizeof reference);
    net_reset(&reference.network);
    saved = saving = reference;
    to_host.n = 0;
    late_for = 0;
    sent.n = 0;
    reset_board();
    hello();
}

static void poll_board(void)
{
    int16_t x[BP_NETWORK_N_IN], t[BP_NETWORK_N_OUT];
    uint32_t steps = bp_network.steps;

    bp_link_poll();
    memmove(to_board.bytes, to_board.bytes + next_read, to_board.n - next_read);
    to_board.n -= next_read;
    next_read = 0;
    if (bp_network.steps != steps) {
        make_sample(bp_network.steps - 1, x, t);
        if (memcmp(bp_network.a0, x, sizeof x) != 0) {
            totals.extra += bp_network.steps - steps;
            start_over();
            return;
        }
    }
    deliver();
}

static void train(void)
{
    uint8_t frame[BP_LINK_FRAME], *p = frame + 4;
    int16_t x[BP_NETWORK_N_IN], t[BP_NETWORK_N_OUT];
    uint32_t most = (BP_LINK_FRAME - 8u - 6u) / (2u * (BP_NETWORK_N_IN + BP_NETWORK_N_OUT));
    uint32_t count = one_in(4) ? 1 + random32() % most : 1;
    uint32_t step;
    int in_group = count != 1 || one_in(8);
    size_t i;

    put(&p, next_gen, 4);
    if (in_group) {
        put(&p, count, 1);
    }
    put(&p, 0, 1);
    for (step = next_gen; step != next_gen + count; step++) {
        make_sample(step, x, t);
        for (i = 0; i < BP_NETWORK_N_OUT; i++) {
            put(&p, (uint16_t)t[i], 2);
        }
        for (i = 0; i < BP_NETWORK_N_IN; i++) {
            put(&p, (uint16_t)x[i], 2);
        }
    }
    ask(in_group ? BP_TRAIN_N : BP_TRAIN, next_gen, count, frame, p);
    next_gen += count;
}

static void save(void)
{
    uint8_t frame[BP_LINK_FRAME], *p = frame + 4;

    saving = reference;
    put(&p, reference.steps, 4);
    ask(BP_SAVE, reference.steps, 0, frame, p);
}

static void infer(void)
{
    uint8_t frame[BP_LINK_FRAME], *p = frame + 4;
    int16_t t[BP_NETWORK_N_OUT];
    size_t i;

    make_sample(random32(), reference.network.a0, t);
    net_forward(&reference.network);
    put(&p, 0, 1);
    for (i = 0; i < BP_NETWORK_N_IN; i++) {
        put(&p, (uint16_t)reference.network.a0[i], 2);
    }
    ask(BP_INFER, 0, 0, frame, p);
}

/* Whether p holds the reference's outputs. */
static int are_outputs(const uint8_t *p)
{
    const int16_t *y = reference.network.a2;
    size_t i;

    for (i = 0; i < BP_NETWORK_N_OUT; i++) {
        if ((uint16_t)y[i] != get(p + 2 * i, 2)) {
            return 0;
        }
    }
    return 1;
}

/* The requests up to and with that one were done. Returns the loss of its steps. */
static uint64_t done_up_to(size_t index)
{
    uint64_t loss = 0;
    size_t i;
    uint32_t n;

    for (i = 0; i <= index; i++) {
        loss = 0;
        for (n = waiting[0].count; n != 0; n--) {
            loss += advance();
        }
        forget_oldest();
    }
    return loss;
}

/* All answered: the board's network is the reference, to the bit. */
static void check_board(void)
{
    if (n_waiting != 0 || boots != known_boots) {
        return;
    }
    if (bp_network.steps > reference.steps) {
        totals.extra += bp_network.steps - reference.steps;
    } else if (bp_network.steps < reference.steps) {
        totals.missing += reference.steps - bp_network.steps;
    } else if (!same_network()) {
        totals.wrong++;
    } else {
        return;
    }
    start_over();
}

/* The board's gen, and the CRC of its weights, after HELLO. */
static void resume(const uint8_t *p)
{
    uint32_t gen = get(p + 21, 4);
    uint16_t counted = (uint16_t)get(p + 30, 2);

    greeted = 1;
    went_back = ~0u;
    if (counted != known_boots) { /* what was not saved is gone */
        known_boots = counted;
        if (gen != saved.steps && gen != saving.steps) {
            totals.missing += saved.steps > gen ? saved.steps - gen : 1;
            start_over();
            return;
        }
        reference = gen == saved.steps ? saved : saving;
        saved = saving = reference;
    } else if (gen < reference.steps) {
        totals.missing += reference.steps - gen;
        start_over();
        return;
    } else if (gen > next_gen) {
        totals.extra += gen - next_gen;
        start_over();
        return;
    }
    while (reference.steps != gen) { /* answers that were lost */
        advance();
    }
    next_gen = gen;
    if (get(p + 25, 4) != net_crc32(&reference.network)) {
        totals.wrong++;
        start_over();
        return;
    }
    check_board();
}

static void go_back(uint32_t gen)
{
    size_t i;

    while (n_waiting != 0 && waiting[0].count != 0 && waiting[0].gen < gen) {
        done_up_to(0);
    }
    if (gen != (n_waiting != 0 ? waiting[0].gen : next_gen)) {
        hello();
    } else if (went_back != gen) {
        went_back = gen;
        totals.go_backs++;
        for (i = 0; i < n_waiting; i++) {
            transmit(&waiting[i]);
        }
    }
}

/* A reply OK; `size` is that of its payload p. */
static void take_answer(size_t index, const uint8_t *p, size_t size)
{
    const request_t request = waiting[index];
    uint64_t loss;

    switch (request.type) {
    case BP_HELLO:
        if (size != 32) {
            totals.unexpected++;
        }
        forget_all();
        resume(p);
        return;
    case BP_INFER:
        totals.wrong += !are_outputs(p + 1) || size != 1 + 2 * BP_NETWORK_N_OUT;
        forget_oldest();
        break;
    case BP_SAVE:
        forget_oldest();
        if (get(p + 5, 4) == 0) {
            saved = saving;
            totals.saves++;
        } else {
            save(); /* go on asking */
        }
        break;
    default:
        if (get(p + 1, 4) != request.gen + request.count) {
            hello();
            return;
        }
        loss = done_up_to(index);
        loss = loss > 0xFFFFFFFFu ? 0xFFFFFFFFu : loss;
        totals.wrong += get(p + 5, 4) != loss;
        totals.wrong += request.type == BP_TRAIN && !are_outputs(p + 9);
        totals.unexpected += size != 9 + (request.type == BP_TRAIN ? 2 * BP_NETWORK_N_OUT : 0);
        break;
    }
    check_board();
}

static void take_frame(const uint8_t *frame, size_t size)
{
    size_t i;

    if (size < 8 || crc32(frame, size - 4) != get(frame + size - 4, 4)) {
        return;
    }
    size -= 8;
    if (frame[0] == BP_BOOT) {
        if (greeted || n_waiting == 0) {
            hello();
        }
        return;
    }
    for (i = 0; i < n_waiting; i++) {
        if (frame[0] == (waiting[i].type | BP_REPLY) && frame[1] == waiting[i].seq &&
            get(frame + 2, 2) == session) {
            break;
        }
    }
    if (i == n_waiting) {
        return; /* stale */
    }
    silence = 0;
    switch (frame[4]) {
    case BP_OK:
        take_answer(i, frame + 4, size);
        break;
    case BP_E_GEN:
        go_back(get(frame + 5, 4));
        break;
    case BP_E_SESSION:
        hello();
        break;
    case BP_E_STATE: /* a save that this host forgot in a HELLO still runs: the retry will do */
        break;
    default:
        totals.unexpected++;
        hello();
        break;
    }
}

static void listen(void)
{
    static uint8_t frame[512];
    static size_t n, left, is_bad;
    size_t i;

    for (i = 0; i < to_host.n; i++) {
        uint8_t byte = to_host.bytes[i];

        if (byte == 0) {
            size_t size = n;
            int good = n > 1 && left == 0 && !is_bad;

            n = left = is_bad = 0;
            if (good) {
                take_frame(frame + 1, size - 1);
            }
        } else {
            if (left == 0) {
                left = byte;
                byte = 0;
            }
            left--;
            if (n == sizeof frame) {
                is_bad = 1;
            } else {
                frame[n++] = byte;
            }
        }
    }
    to_host.n = 0;
}

static void wait_longer(void)
{
    if (++silence < 4u << tries) {
        return;
    }
    silence = 0;
    went_back = ~0u;
    if (++tries <= 5) {
        totals.retries++;
        transmit(&waiting[0]);
    } else if (waiting[0].type == BP_HELLO) {
        totals.resets++;
        reset_board();
        hello();
    } else {
        hello();
    }
}

static void send_more(void)
{
    if (n_waiting != 0 && waiting[0].count == 0) {
        return; /* HELLO, SAVE and INFER are alone */
    }
    if (next_gen >= saved.steps + SAVE_EVERY || one_in(200)) {
        if (n_waiting == 0) {
            if (next_gen >= saved.steps + SAVE_EVERY) {
                save();
            } else {
                infer();
            }
        }
        return;
    }
    while (n_waiting < MOST_WAITING && bytes_waiting + BP_LINK_FRAME + 3 <= BP_LINK_WINDOW) {
        train();
    }
}

int main(int argc, char **argv)
{
    uint32_t steps = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 1000;
    unsigned polls;

    session = (uint16_t)random32();
    start_over();
    while (reference.steps < steps && totals.extra + totals.missing + totals.wrong +
           totals.unexpected < GIVE_UP) {
        send_more();
        for (polls = random32() % 4; polls != 0; polls--) {
            poll_board();
        }
        if (one_in(RESET_GAP)) {
            totals.resets++;
            reset_board();
        }
        if (late_for != 0 && --late_for == 0) {
            carry(&to_host, late.bytes, late.n);
        }
        listen();
        if (n_waiting != 0) {
            wait_longer();
        }
    }
    printf("{\"seed\": \"%llx\", \"steps\": %lu, \"trained\": %ld, \"requests\": %ld, "
           "\"byte_faults\": %ld, \"resets\": %ld, \"saves\": %ld, \"retries\": %ld, "
           "\"go_backs\": %ld, \"hellos\": %ld, \"extra\": %ld, \"missing\": %ld, \"wrong\": %ld, "
           "\"unexpected\": %ld}\n",
           (unsigned long long)SEED, (unsigned long)reference.steps, totals.steps, totals.requests,
           totals.byte_faults, totals.resets, totals.saves, totals.retries, totals.go_backs,
           totals.hellos, totals.extra, totals.missing, totals.wrong, totals.unexpected);
    return 0;
}
