/* bpgen_kernels_avr.h -- kernels for AVR cores with a multiplier, in assembly.
 *
 * bpgen_kernels.c alone includes this, and its C says what each of these computes; -DBP_PORTABLE
 * leaves them out.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_KERNELS_AVR_H
#define BPGEN_KERNELS_AVR_H

#include "bpgen_unit.h"

#if BP_SMALL
#include "bpgen_avr_small.h"
#else
#include "bpgen_avr_forward.h"
#include "bpgen_avr_s8.h"
#include "bpgen_avr_sigmoid.h"
#include "bpgen_avr_update.h"
#endif

#endif
