/* bpgen_store.c -- the network's state in non-volatile memory: see bpgen_store.h.
 *
 * An area of byte-wise memory is one record, that of flash a log of them. What is stored is found
 * by reading the memory each time, so that nothing in RAM can disagree with it.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_store.h"

#if BP_STORE_BYTES

#define AREA (BP_STORE_BYTES / 2u)
#define CRC_BYTES 4u
#define HEAD 10u
#define USED (HEAD + BP_NETWORK_SAVED_BYTES)
#define RECORD ((USED + BP_STORE_UNIT - 1u) / BP_STORE_UNIT * BP_STORE_UNIT)
#if BP_STORE_ERASES
#define SLOTS (AREA / RECORD)
#else
#define SLOTS 1u
#endif

/* No address of a record, but one that has this bit. */
#define NONE 32768u

/* A record's CRC-32 begins with what the state means: that of another model or layout is wrong. */
#define MEANING (BP_NETWORK_HASH + 0x9E3779B9u * BPGEN_CORE_ABI)

/* The record being written. */
typedef struct {
    uint32_t crc; /* of the rest, as it was when the save began */
    uint32_t gen;
    uint16_t sequence;
    uint16_t address;
    uint16_t left; /* bytes to write, from the last to the first, and 1 to check; 0: no save runs */
#if BP_STORE_ERASES
    uint8_t erase; /* the area of `address` first */
#endif
} job_t;

BP_STATIC_ASSERT(offsetof(job_t, address) == HEAD, head_has_no_padding);
BP_STATIC_ASSERT(RECORD <= AREA && AREA % BP_STORE_UNIT == 0, areas_are_whole_records);
BP_STATIC_ASSERT(BP_STORE_BYTES <= NONE, addresses_have_15_bits);

static job_t job;

/* Where byte i of the record is in RAM. */
static uint8_t *record_byte(uint16_t i)
{
    return i < HEAD ? (uint8_t *)&job + i : bp_network_saved(i - HEAD);
}

/* Copy the first n bytes of a stored record to the one in RAM. */
static void read_record(uint16_t address, uint16_t n)
{
    while (n-- != 0) {
        *record_byte(n) = bp_port_store_read((uint16_t)(address + n));
    }
}

/* The CRC of what is stored at `address`, with NONE of the record in RAM. */
static uint32_t record_crc(uint16_t address)
{
    uint32_t crc = MEANING;
    uint16_t i;

    for (i = CRC_BYTES; i < USED; i++) {
        crc = bp_crc32_byte(crc, (address & NONE) != 0
                                     ? *record_byte(i)
                                     : bp_port_store_read((uint16_t)(address + i)));
    }
    return crc;
}

/* End a running save. Returns the address of the newest record, whose first n bytes, its head at
 * least, are then those of the record in RAM; or NONE.
 */
static uint16_t find_newest(uint16_t n)
{
    job_t *j = bp_hidden(&job);
    uint16_t newest = NONE;
    uint16_t sequence = 0;
    uint16_t area = 0;

    j->left = 0;
    do {
        uint16_t address = area;
        uint16_t slot;

        for (slot = SLOTS; slot != 0; slot--) {
            read_record(address, HEAD);
            if (j->crc == record_crc(address) &&
                ((newest & NONE) != 0 || (int16_t)(j->sequence - sequence) > 0)) {
                newest = address;
                sequence = j->sequence;
            }
            address = (uint16_t)(address + RECORD);
        }
        area ^= AREA;
    } while (area != 0);
    if ((newest & NONE) == 0) {
        read_record(newest, n);
    }
    return newest;
}

#if BP_STORE_ERASES
static uint8_t is_blank(uint16_t address)
{
    uint16_t i;

    for (i = 0; i < RECORD; i++) {
        if (bp_port_store_read((uint16_t)(address + i)) != 255u) {
            return 0;
        }
    }
    return 1;
}

/* Behind the newest record, where cuts may have left slots half written, or else in front of the
 * other area, which is erased whatever it looks like: a cut may have left it half erased.
 */
static void choose_slot(job_t *j, uint16_t newest)
{
    uint16_t address = (newest & NONE) == 0 ? (uint16_t)(newest + RECORD) : 0u;
    uint16_t end = (newest & NONE) == 0 && newest >= AREA ? 2u * AREA : AREA;

    j->erase = 0;
    while (address + RECORD <= end && !is_blank(address)) {
        address = (uint16_t)(address + RECORD);
    }
    if (address + RECORD > end) {
        j->erase = 1;
        address = end == AREA ? AREA : 0u;
    }
    j->address = address;
}
#else
static void choose_slot(job_t *j, uint16_t newest)
{
    j->address = newest == 0 ? AREA : 0u;
}
#endif

int8_t bp_store_load(uint32_t *gen)
{
    if ((find_newest(USED) & NONE) != 0) {
        return -1;
    }
    *gen = job.gen;
    return 0;
}

uint16_t bp_store_save(uint32_t gen)
{
    job_t *j = bp_hidden(&job);

    if (j->left == 0) {
        uint16_t newest = find_newest(HEAD);

        if ((newest & NONE) != 0 || j->gen != gen) {
            choose_slot(j, newest);
            j->sequence++;
            j->gen = gen;
            j->crc = record_crc(NONE);
            j->left = RECORD + 1u;
        }
    }
    return j->left;
}

int8_t bp_store_poll(void)
{
    uint16_t at = (uint16_t)(job.left - 1u - BP_STORE_UNIT);
#if BP_STORE_UNIT > 1
    uint8_t unit[BP_STORE_UNIT];
    uint8_t i;
#endif
    int8_t result;

    if (job.left <= 1) {
        return job.left == 0 || find_newest(HEAD) == job.address ? 0 : -1;
    }
#if BP_STORE_ERASES
    if (job.erase) {
        result = bp_port_store_erase(job.address != 0);
        job.erase = result != 0;
    } else
#endif
    {
#if BP_STORE_UNIT > 1
        for (i = 0; i < BP_STORE_UNIT; i++) {
            unit[i] = RECORD == USED || at + i < USED ? *record_byte((uint16_t)(at + i)) : 0u;
        }
        result = bp_port_store_write((uint16_t)(job.address + at), unit);
#else
        result = bp_port_store_write((uint16_t)(job.address + at), record_byte(at));
#endif
        if (result == 0) {
            job.left = (uint16_t)(job.left - BP_STORE_UNIT);
        }
    }
    if (result < 0) {
        job.left = 0;
        return -1;
    }
    return 1;
}

#else
/* ISO C has no empty files. */
typedef int bp_no_store;
#endif
