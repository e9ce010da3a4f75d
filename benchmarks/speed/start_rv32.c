/* start_rv32.c -- start of RV32 in machine mode, on QEMU's machine "virt", for the harness.
 *
 * SPDX-License-Identifier: 0BSD
 */
#include <stdint.h>

/* From the linker script. */
extern uint32_t bench_data_at[], bench_data[], bench_data_end[], bench_bss[], bench_bss_end[];

int main(void);
void begin(void);

/* The machine begins at the first address. A trap spins at address 0, which the time limit ends. */
__asm__(".section .vectors, \"ax\"\n"
        ".option push\n"
        ".option norelax\n"
        ".global Reset_Handler\n"
        ".type Reset_Handler, @function\n"
        "Reset_Handler:\n"
        "la gp, __global_pointer$\n"
        "la tp, bench_bss\n"
        "la sp, bench_stack\n"
        "j begin\n"
        ".size Reset_Handler, . - Reset_Handler\n"
        ".option pop\n"
        ".text\n");

void begin(void)
{
    const uint32_t *from = bench_data_at;
    volatile uint32_t *to;

    for (to = bench_data; to != bench_data_end; to++) {
        *to = *from++;
    }
    for (to = bench_bss; to != bench_bss_end; to++) {
        *to = 0;
    }
    main();
}
