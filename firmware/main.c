/* main.c -- serves the network to a host, for ever.
 *
 * What a firmware does beside that goes into the loop; it should take less than the time in which
 * BP_LINK_WINDOW bytes arrive. It calls bp_link_changed() when it has changed the network.
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_link.h"
#include "bpgen_port.h"

int main(void)
{
    bp_port_begin();
    bp_link_begin();
    for (;;) {
        if (bp_link_poll() == 0) {
            bp_port_idle();
        }
    }
}
