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

/* No address of a record: at least one byte of each lies behind it. */
#define NONE 65535u

/* A record's CRC-32 begins with what the state means: that of another model or layout is wrong. */
#define MEANING (BP_NETWORK_HASH + 0x9E3779B9u * BPGEN_CORE_ABI)

/* The record being written. */
static struct job {
    uint32_t crc; /* of the rest, as it was when the save began */
    uint32_t gen;
    uint16_t sequence;
    uint16_t address;
    uint16_t left; /* bytes to write, from the last to the first, and 1 to check; 0: no save runs */
#if BP_STORE_ERASES
    uint8_t erase; /* the area of `address` first */
#endif
} job;

BP_STATIC_ASSERT(offsetof(struct job, address) == HEAD, head_has_no_padding);
BP_STATIC_ASSERT(RECORD <= AREA && AREA % BP_STORE_UNIT == 0, areas_are_whole_records);
BP_STATIC_ASSERT(AREA <= 32768u - (BP_STORE_ERASES ? RECORD : 0u), addresses_have_16_bits);

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
        crc = bp_crc32_byte(crc, address == NONE ? *record_byte(i)
                                                 : bp_port_store_read((uint16_t)(address + i)));
    }
    return crc;
}

/* End a running save. Returns the address of the newest record, its head in the job, or NONE. */
static uint16_t find_newest(void)
{
    uint16_t newest = NONE;
    uint16_t sequence = 0;
    uint16_t area = 0;

    job.left = 0;
    do {
        uint16_t address = area;
        uint16_t slot;

        for (slot = SLOTS; slot != 0; slot--) {
            read_record(address, HEAD);
            if (job.crc == record_crc(address) &&
                (newest == NONE || (int16_t)(job.sequence - sequence) > 0)) {
                newest = address;
                sequence = job.sequence;
            }
            address = (uint16_t)(address + RECORD);
        }
        area ^= AREA;
    } while (area != 0);
    if (newest != NONE) {
        read_record(newest, HEAD);
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
static void choose_slot(uint16_t newest)
{
    uint16_t address = newest != NONE ? (uint16_t)(newest + RECORD) : 0u;
    uint16_t end = newest != NONE && newest >= AREA ? 2u * AREA : AREA;

    job.erase = 0;
    while (address + RECORD <= end && !is_blank(address)) {
        address = (uint16_t)(address + RECORD);
    }
    if (address + RECORD > end) {
        job.erase = 1;
        address = end == AREA ? AREA : 0u;
    }
    job.address = address;
}
#else
static void choose_slot(uint16_t newest)
{
    job.address = newest == 0 ? AREA : 0u;
}
#endif

int8_t bp_store_load(uint32_t *gen)
{
    uint16_t newest = find_newest();

    if (newest == NONE) {
        return -1;
    }
    read_record(newest, USED);
    *gen = job.gen;
    return 0;
}

uint16_t bp_store_save(uint32_t gen)
{
    if (job.left == 0) {
        uint16_t newest = find_newest();

        if (newest == NONE || job.gen != gen) {
            choose_slot(newest);
            job.sequence++;
            job.gen = gen;
            job.crc = record_crc(NONE);
            job.left = RECORD + 1u;
        }
    }
    return job.left;
}

int8_t bp_store_poll(void)
{
    uint16_t at = (uint16_t)(job.left - 1u - BP_STORE_UNIT);
    uint8_t unit[BP_STORE_UNIT];
    uint8_t i;
    int8_t result;

    if (job.left <= 1) {
        return job.left == 0 || find_newest() == job.address ? 0 : -1;
    }
#if BP_STORE_ERASES
    if (job.erase) {
        result = bp_port_store_erase(job.address != 0);
        job.erase = result != 0;
    } else
#endif
    {
        for (i = 0; i < BP_STORE_UNIT; i++) {
            unit[i] = RECORD == USED || at + i < USED ? *record_byte((uint16_t)(at + i)) : 0u;
        }
        result = bp_port_store_write((uint16_t)(job.address + at), unit);
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
