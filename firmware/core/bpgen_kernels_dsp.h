/* bpgen_kernels_dsp.h -- kernels for Arm cores with the DSP extension: Cortex-M4, M7, M33.
 *
 * bpgen_kernels.c alone includes this, and its C says what each of these computes.
 * SPDX-License-Identifier: 0BSD
 */
#ifndef BPGEN_KERNELS_DSP_H
#define BPGEN_KERNELS_DSP_H

#include "bpgen_unit.h"

#endif
