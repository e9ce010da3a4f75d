/* bpgen_port.c -- port in memory: byte queues and a byte array as store.
 *
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_link.h"
#include "bpgen_memory.h"

/* The shortest request takes 12 bytes on the line, the longest reply BP_LINK_FRAME + 3. */
BP_STATIC_ASSERT((BP_LINK_FRAME + 3u) * (BP_MEMORY_FEED / 12u + 2u) <= BP_MEMORY_ANSWERS,
                 answers_fit);

static int16_t arrived = -1;
static uint8_t sent[BP_MEMORY_ANSWERS];
static size_t sent_count;
static uint16_t boots;

void bp_port_begin(void)
{
}

int16_t bp_port_read(void)
{
    int16_t byte = arrived;

    arrived = -1;
    return byte;
}

void bp_port_write(uint8_t byte)
{
    sent[sent_count++] = byte;
}

void bp_port_idle(void)
{
}

uint16_t bp_port_reset(uint8_t *cause)
{
    *cause = boots == 1 ? BP_RESET_POWER_ON : BP_RESET_RESET_PIN;
    return boots;
}

uint16_t bp_port_lost(void)
{
    return 0;
}

void bp_memory_feed(const uint8_t *bytes, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        arrived = bytes[i];
        (void)bp_link_poll();
    }
}

size_t bp_memory_take(uint8_t *bytes)
{
    size_t n = sent_count;
    size_t i;

    for (i = 0; i < n; i++) {
        bytes[i] = sent[i];
    }
    sent_count = 0;
    return n;
}

#if BP_STORE_BYTES
static uint8_t store[BP_STORE_BYTES];

uint8_t bp_port_store_read(uint16_t address)
{
    return store[address];
}

int8_t bp_port_store_write(uint16_t address, const uint8_t *unit)
{
    uint16_t i;

    for (i = 0; i < BP_STORE_UNIT; i++) {
        store[address + i] = unit[i];
    }
    return 0;
}

int8_t bp_port_store_erase(uint8_t area)
{
    uint32_t i;

    for (i = 0; i < BP_STORE_BYTES / 2u; i++) {
        store[area * (BP_STORE_BYTES / 2u) + i] = 255;
    }
    return 0;
}

uint8_t *bp_memory_store(void)
{
    return store;
}
#else
uint8_t *bp_memory_store(void)
{
    return NULL;
}
#endif

void bp_memory_reset(void)
{
#if BP_STORE_BYTES
    if (boots == 0) {
        (void)bp_port_store_erase(0);
        (void)bp_port_store_erase(1);
    }
#endif
    arrived = -1;
    boots++;
    bp_port_begin();
    bp_link_begin();
}
