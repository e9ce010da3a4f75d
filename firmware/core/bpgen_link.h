/* bpgen_link.h -- the board's side of the wire: serves the network of bpgen_device.h to a host.
 *
 * docs/protocol.md is the contract. Call bp_link_begin() once and bp_link_poll() for ever.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_LINK_H
#define BPGEN_LINK_H

#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_wire.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Load the newest stored state of the network, or else reset it, and send BOOT. The port must
 * have begun.
 */
void bp_link_begin(void);

/* Take in what has arrived, answer at most one request, and move a running save on by one unit.
 * Never waits for the host. Returns 1 when it has answered a request or a save goes on, else 0:
 * the board may then sleep until something arrives.
 */
uint8_t bp_link_poll(void);

/* Say that the firmware itself has changed the network's state, by training for instance: raises
 * gen, so that no request of a host that does not know is applied.
 */
void bp_link_changed(void);

#ifdef __cplusplus
}
#endif

#endif
