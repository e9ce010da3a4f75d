/* power_cuts.c -- cuts the power at every write of every save, and looks at what is loaded then.
 *
 * The firmware's bpgen_store.c runs here on a memory that can be cut. Each scenario is a run of it:
 * one cut in a save, or after such a cut and a restart another one in the next save. What a restart
 * loads must be the state whose save had ended, or that of the cut save, whole.
 *
 *     power_cuts SAVES      how many saves on each kind of memory content
 *
 * Prints one JSON object. Its faults: `lost` loads of nothing or of an older state, `garbage` loads
 * of something that was never saved, `failed` saves on a memory that works, `unnoticed` saves
 * reported as done that are not there, `misuse` writes that the memory does not allow.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not linked but included: a restart clears its variables. */
#include "bpgen_store.c"

#define SEED 20260u
#define SIZE ((size_t)BP_STORE_BYTES)
#define FIRST_GEN 1000u /* state i is saved as gen FIRST_GEN + i */
#define STATES 40
#define NOTHING (-1)
#define GARBAGE (-2)

net_state_t bp_network;

static struct {
    long scenarios, lost, garbage, failed, unnoticed, misuse, operations;
} totals;

/* State 0 is never saved. */
static uint8_t states[STATES][BP_NETWORK_SAVED_BYTES];

static uint32_t random_state = SEED;

static uint32_t random32(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* ---- The memory ----------------------------------------------------------------------------- */

enum { UNCHANGED, ALL_FF, RANDOM, AND, WHOLE, KINDS, IGNORED = KINDS, REFUSED };

static uint8_t memory[SIZE];
static jmp_buf power;
static long operation; /* writes and erasures since it was set to 0 */
static long struck; /* the one that `kind` happens to; -1: none */
static int kind;
static unsigned calls; /* every third finds the memory busy */

/* What the cut leaves where `old` was to become `new`. */
static void tear(uint8_t *old, const uint8_t *new, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        switch (kind) {
        case ALL_FF:
            old[i] = 255;
            break;
        case RANDOM:
            old[i] = (uint8_t)random32();
            break;
        case AND:
            old[i] &= new[i];
            break;
        case WHOLE:
            old[i] = new[i];
            break;
        default:
            break;
        }
    }
}

/* Erasing is slow: the cut leaves a part of the page erased, or bits anywhere. */
static void tear_erased(uint8_t *page, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if ((kind == ALL_FF && i < n / 2) || kind == WHOLE) {
            page[i] = 255;
        } else if (kind == RANDOM) {
            page[i] = (uint8_t)random32();
        } else if (kind == AND) {
            page[i] |= (uint8_t)random32();
        }
    }
}

/* Whether the operation that comes is the one something happens to. */
static int strikes(void)
{
    return operation++ == struck;
}

uint8_t bp_port_store_read(uint16_t address)
{
    if (address >= SIZE) {
        totals.misuse++;
        return 0;
    }
    return memory[address];
}

int8_t bp_port_store_write(uint16_t address, const uint8_t *unit)
{
    uint8_t *p = memory + address;
    size_t i;

    if (calls++ % 3 == 0) {
        return 1;
    }
    if (address % BP_STORE_UNIT != 0 || address + BP_STORE_UNIT > SIZE) {
        totals.misuse++;
        return -1;
    }
    if (memcmp(p, unit, BP_STORE_UNIT) == 0) {
        return 0;
    }
    for (i = 0; BP_STORE_ERASES && i < BP_STORE_UNIT; i++) {
        if (p[i] != 255) {
            totals.misuse++;
            return -1;
        }
    }
    if (strikes()) {
        if (kind == IGNORED || kind == REFUSED) {
            return kind == IGNORED ? 0 : -1;
        }
        tear(p, unit, BP_STORE_UNIT);
        longjmp(power, 1);
    }
    memcpy(p, unit, BP_STORE_UNIT);
    return 0;
}

/* Two pages an area, one a call, as the ports do it. */
int8_t bp_port_store_erase(uint8_t area)
{
    const size_t size = SIZE / 4;
    size_t page, i;

    if (calls++ % 3 == 0) {
        return 1;
    }
    for (page = 2u * area; page < 2u * area + 2; page++) {
        uint8_t *p = memory + page * size;

        for (i = 0; i < size && p[i] == 255; i++) {
        }
        if (i == size) {
            continue;
        }
        if (strikes()) {
            if (kind == IGNORED || kind == REFUSED) {
                return -1;
            }
            tear_erased(p, size);
            longjmp(power, 1);
        }
        memset(p, 255, size);
        return 1;
    }
    return 0;
}

/* ---- The board ------------------------------------------------------------------------------ */

static void set_network(int id)
{
    uint16_t i;

    for (i = 0; i < BP_NETWORK_SAVED_BYTES; i++) {
        *bp_network_saved(i) = states[id][i];
    }
}

static int network_is(int id)
{
    uint16_t i;

    for (i = 0; i < BP_NETWORK_SAVED_BYTES; i++) {
        if (*bp_network_saved(i) != states[id][i]) {
            return 0;
        }
    }
    return 1;
}

/* Power on. Returns which state the board has then. */
static int restart(void)
{
    uint32_t gen = 0;

    memset(&job, 0, sizeof job);
    set_network(0);
    if (bp_store_load(&gen) != 0) {
        return network_is(0) ? NOTHING : GARBAGE;
    }
    gen -= FIRST_GEN;
    return gen >= 1 && gen < STATES && network_is((int)gen) ? (int)gen : GARBAGE;
}

/* Returns 0 when the save of a state is done, 1 when it was cut, -1 when the board gave it up. */
static int save(int id)
{
    int polls;
    int result = 1;

    operation = 0;
    set_network(id);
    if (setjmp(power) != 0) {
        return 1;
    }
    if (bp_store_save(FIRST_GEN + (uint32_t)id) == 0) {
        return 0;
    }
    for (polls = 0; polls < 10000 && result == 1; polls++) {
        result = bp_store_poll();
    }
    if (result != 0 || job.left != 0) {
        return -1;
    }
    return 0;
}

/* The same on a memory that works. Returns how many operations it took. */
static long save_all(int id)
{
    struck = -1;
    if (save(id) != 0) {
        totals.failed++;
    } else if (restart() != id) {
        totals.unnoticed++;
    }
    return operation;
}

/* ---- Scenarios ------------------------------------------------------------------------------ */

static void check(int found, int before, int cut)
{
    totals.scenarios++;
    if (found == GARBAGE) {
        totals.garbage++;
    } else if (found != before && found != cut) {
        totals.lost++;
    }
}

/* Cut the save of a state at each operation, in all ways; `before` is what `from` has stored. */
static void cut_each(const uint8_t *from, int before, int id, long operations, int nested)
{
    uint8_t after[SIZE];
    long at;
    int how;

    for (at = 0; at < operations; at++) {
        for (how = 0; how < KINDS; how++) {
            int found;

            memcpy(memory, from, SIZE);
            memset(&job, 0, sizeof job);
            struck = at;
            kind = how;
            if (save(id) != 1) {
                totals.failed++;
                continue;
            }
            found = restart();
            check(found, before, id);
            if (nested) {
                memcpy(after, memory, SIZE);
                cut_each(after, found, id + 1, save_all(id + 1), 0);
            }
        }
    }
}

/* A cell that does not take what is written, or says so, at each operation. */
static void break_each(const uint8_t *from, int before, int id, long operations)
{
    long at;
    int how, result, found;

    for (at = 0; at < operations; at++) {
        for (how = IGNORED; how <= REFUSED; how++) {
            memcpy(memory, from, SIZE);
            memset(&job, 0, sizeof job);
            struck = at;
            kind = how;
            result = save(id);
            found = restart();
            totals.unnoticed += result == 0 && found != id;
            check(found, before, id);
        }
    }
}

/* Firmware that moves the weights in the middle of a save: what is loaded is still no mixture. */
static void disturb_each(const uint8_t *from, int before, int id)
{
    int polls, disturbed, result;

    struck = -1;
    for (disturbed = 1; disturbed < 400; disturbed += 3) {
        memcpy(memory, from, SIZE);
        memset(&job, 0, sizeof job);
        set_network(id);
        bp_store_save(FIRST_GEN + (uint32_t)id);
        for (polls = 0, result = 1; result == 1 && polls < 10000; polls++) {
            if (polls == disturbed) {
                set_network(id + 1);
            }
            result = bp_store_poll();
        }
        check(restart(), before, id);
    }
}

static void put32(uint8_t *p, uint32_t value)
{
    int i;

    for (i = 0; i < 4; i++) {
        p[i] = (uint8_t)(value >> 8 * i);
    }
}

/* A valid record, as another run or another firmware has left it. */
static void put_record(uint8_t *p, uint16_t sequence, uint32_t meaning, int id)
{
    uint32_t crc = meaning;
    size_t i;

    put32(p + 4, FIRST_GEN + (uint32_t)id);
    p[8] = (uint8_t)sequence;
    p[9] = (uint8_t)(sequence >> 8);
    memcpy(p + HEAD, states[id], BP_NETWORK_SAVED_BYTES);
    for (i = CRC_BYTES; i < USED; i++) {
        crc = bp_crc32_byte(crc, p[i]);
    }
    put32(p, crc);
}

enum { BLANK, NOISE, FOREIGN, WRAPPING, CONTENTS };

/* Returns the state that is stored in it. */
static int fill_memory(int content)
{
    size_t i;

    memset(memory, 255, SIZE);
    switch (content) {
    case NOISE:
        for (i = 0; i < SIZE; i++) {
            memory[i] = (uint8_t)random32();
        }
        return NOTHING;
    case FOREIGN:
        put_record(memory, 500, MEANING ^ 1u, 1);
        put_record(memory + SIZE / 2, 501, MEANING ^ 0x80000000u, 2);
        return NOTHING;
    case WRAPPING:
        put_record(memory, 0xFFFDu, MEANING, 1);
        return 1;
    default:
        return NOTHING;
    }
}

static void make_states(void)
{
    int id;
    size_t i;

    for (id = 0; id < STATES; id++) {
        for (i = 0; i < BP_NETWORK_SAVED_BYTES; i++) {
            /* Some saves change all bytes, some a few. */
            int same = id % 4 == 3 && i % 5 != 0;

            states[id][i] = same ? states[id - 2][i] : (uint8_t)(random32() >> 8);
        }
    }
}

int main(int argc, char **argv)
{
    static uint8_t before[SIZE], done[SIZE];
    int saves = argc > 1 ? atoi(argv[1]) : 1;
    int content;

    make_states();
    for (content = 0; content < CONTENTS; content++) {
        int stored = fill_memory(content);
        int id = stored == NOTHING ? 1 : stored + 1;
        int last = id + saves;
        int found = restart();

        totals.garbage += found != stored && found != NOTHING;
        totals.lost += found != stored && found == NOTHING;
        for (; id < last && id + 1 < STATES; id++) {
            long operations;

            memcpy(before, memory, SIZE);
            operations = save_all(id);
            totals.operations += operations;
            memcpy(done, memory, SIZE);
            /* A state that is stored is not written again. */
            if (save_all(id) != 0) {
                totals.misuse++;
            }
            cut_each(before, stored, id, operations, 1);
            break_each(before, stored, id, operations);
            disturb_each(before, stored, id);
            memcpy(memory, done, SIZE);
            stored = id;
        }
    }
    printf("{\"unit\": %u, \"erases\": %d, \"record\": %u, \"seed\": %u, \"operations\": %ld, "
           "\"scenarios\": %ld, \"lost\": %ld, \"garbage\": %ld, \"failed\": %ld, "
           "\"unnoticed\": %ld, \"misuse\": %ld}\n",
           (unsigned)BP_STORE_UNIT, BP_STORE_ERASES, (unsigned)RECORD, SEED, totals.operations,
           totals.scenarios, totals.lost, totals.garbage, totals.failed, totals.unnoticed,
           totals.misuse);
    return 0;
}
