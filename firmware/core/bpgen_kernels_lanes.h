/* bpgen_kernels_lanes.h -- kernels several outputs at a time, for compilers without help from the core.
 *
 * bpgen_kernels.c alone includes this, and its C says what each of these computes.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_KERNELS_LANES_H
#define BPGEN_KERNELS_LANES_H

#include "bpgen_unit.h"

#endif
