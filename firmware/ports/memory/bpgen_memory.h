/* bpgen_memory.h -- a board inside another program: its line and its store are in memory.
 *
 * Time passes with the bytes on the line only, so the same bytes give the same answers.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_MEMORY_H
#define BPGEN_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes that one call of bp_memory_feed() may bring, and its answers at most. */
#define BP_MEMORY_FEED 1024u
#define BP_MEMORY_ANSWERS (BP_MEMORY_FEED * 32u)

/* Start the board, or start it again: it forgets all but its store. */
void bp_memory_reset(void);

/* Put n bytes on the line and let the board work until it has read them all. */
void bp_memory_feed(const uint8_t *bytes, size_t n);

/* Take what the board has sent; `bytes` has room for BP_MEMORY_ANSWERS. Returns how many. */
size_t bp_memory_take(uint8_t *bytes);

/* The BP_STORE_BYTES bytes of non-volatile memory; NULL where there are none. */
uint8_t *bp_memory_store(void);

#ifdef __cplusplus
}
#endif

#endif
