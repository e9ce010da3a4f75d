/* bpgen_store.h -- the network's state in non-volatile memory, safe against a cut at any byte.
 *
 * Two areas; a record is {CRC-32 u32, gen u32, sequence u16, state}, its CRC another for each model
 * and layout of the state. A new record never touches the newest valid one; a reader takes the
 * valid record with the newest sequence.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_STORE_H
#define BPGEN_STORE_H

#include "bpgen_device.h"
#include "bpgen_port.h"

#ifdef __cplusplus
extern "C" {
#endif

#if BP_STORE_BYTES
/* Replace the network's state by the newest stored one, and fill *gen. Returns 0, or -1 and
 * changes nothing when no valid record of this model is stored. Ends a running save.
 */
int8_t bp_store_load(uint32_t *gen);

/* Start to save the network's state as that of gen. The state must not change until it is done.
 * Does nothing while a save runs and when gen is that of the newest stored state. Returns how many
 * bytes are left to write, plus 1 for reading back and checking them; 0 when no save runs.
 */
uint16_t bp_store_save(uint32_t gen);

/* Move a running save on by one unit. Returns 1 while it runs, 0 when none does, -1 once when the
 * memory did not take the data: the save is then given up and the older record stays the newest.
 */
int8_t bp_store_poll(void);

#endif

#ifdef __cplusplus
}
#endif

#endif
