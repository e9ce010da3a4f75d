/* start.c -- start of RV32 in machine mode, on QEMU's machine "virt".
 *
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_bare.h"

void External_Handler(void);

/* The machine begins at the first address. mtvec in vectored mode: an exception enters the table's
 * first jump, interrupt n its n-th.
 */
__asm__(".section .vectors, \"ax\"\n"
        ".option push\n"
        ".option norelax\n"
        ".option norvc\n"
        ".option arch, +zicsr\n"
        ".global Reset_Handler\n"
        ".type Reset_Handler, @function\n"
        "Reset_Handler:\n"
        "csrci mstatus, 8\n"
        "la gp, __global_pointer$\n"
        "la sp, bp_stack_top\n"
        "la t0, Trap_Handler + 1\n"
        "csrw mtvec, t0\n"
        "j bp_bare_run\n"
        ".size Reset_Handler, . - Reset_Handler\n"
        ".balign 256\n"
        ".type Trap_Handler, @function\n"
        "Trap_Handler:\n"
        ".rept 11\n"
        "j Fault_Handler\n"
        ".endr\n"
        "j External_Handler\n"
        ".size Trap_Handler, . - Trap_Handler\n"
        ".option pop\n"
        ".text\n");

/* The test device resets the machine. */
void Fault_Handler(void)
{
    BP_REGISTER(0x00100000u) = 0x7777u;
    for (;;) {
    }
}
