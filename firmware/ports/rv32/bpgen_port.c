/* bpgen_port.c -- RV32 with a 16550 UART, a CLINT and a PLIC, as QEMU's machine "virt".
 *
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_bare.h"
#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_wire.h"

#define BYTE_REGISTER(address) (*(volatile uint8_t *)(address))

#define UART_DATA BYTE_REGISTER(0x10000000u)
#define UART_IER BYTE_REGISTER(0x10000001u)
#define UART_FCR BYTE_REGISTER(0x10000002u)
#define UART_LCR BYTE_REGISTER(0x10000003u)
#define UART_MCR BYTE_REGISTER(0x10000004u)
#define UART_LSR BYTE_REGISTER(0x10000005u)
#define MTIME_LOW BP_REGISTER(0x0200BFF8u)
#define MTIME_HIGH BP_REGISTER(0x0200BFFCu)
#define MTIMECMP_LOW BP_REGISTER(0x02004000u)
#define MTIMECMP_HIGH BP_REGISTER(0x02004004u)
#define PLIC_PRIORITY(source) BP_REGISTER(0x0C000000u + 4u * (source))
#define PLIC_ENABLE BP_REGISTER(0x0C002000u)
#define PLIC_THRESHOLD BP_REGISTER(0x0C200000u)
#define PLIC_CLAIM BP_REGISTER(0x0C200004u)

/* Instructions of the extension Zicsr, which -march=rv32imc does not name. */
#define CSR(instruction, value)                                                             \
    __asm__ volatile(".option push\n.option arch, +zicsr\n" instruction "\n.option pop" \
                     :                                                                      \
                     : "r"(value)                                                           \
                     : "memory")

#define MIE_TIMER 0x080u
#define MIE_EXTERNAL 0x800u
#define MSTATUS_MIE 0x8u
#define UART_SOURCE 10u
#define MTIME_HZ 10000000u
#define LSR_RECEIVED 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_ROOM 0x20u

void External_Handler(void);

static uint64_t mtime(void)
{
    uint32_t high, low;

    do {
        high = MTIME_HIGH;
        low = MTIME_LOW;
    } while (high != MTIME_HIGH);
    return (uint64_t)high << 32 | low;
}

void bp_port_begin(void)
{
    if (!bp_bare_count_start()) {
        bp_bare_set_cause(BP_RESET_POWER_ON);
    }

    UART_LCR = 3;    /* 8 bits, no parity; the divider stays: QEMU's line has no rate */
    UART_FCR = 7;    /* empty queues */
    (void)UART_DATA; /* without this QEMU forgets to listen if a byte came before */
    UART_MCR = 8;    /* lets the interrupt out */
    UART_IER = 5;    /* received, line status */

    PLIC_PRIORITY(UART_SOURCE) = 1;
    PLIC_THRESHOLD = 0;
    PLIC_ENABLE = 1u << UART_SOURCE;
    CSR("csrs mie, %0", MIE_EXTERNAL);
    CSR("csrs mstatus, %0", MSTATUS_MIE);
}

__attribute__((interrupt("machine"))) void External_Handler(void)
{
    uint32_t source = PLIC_CLAIM;
    uint8_t status;

    while ((status = UART_LSR) & (LSR_RECEIVED | LSR_OVERRUN)) { /* reading clears the overrun */
        if (status & LSR_OVERRUN) {
            bp_ring.lost++;
        }
        if (status & LSR_RECEIVED) {
            bp_ring_put(UART_DATA);
        }
    }
    PLIC_CLAIM = source; /* done */
}

void bp_port_write(uint8_t byte)
{
    while ((UART_LSR & LSR_ROOM) == 0) {
    }
    UART_DATA = byte;
}

/* mtimecmp ends it after 10 ms: a pending interrupt does so though all are masked. */
void bp_port_idle(void)
{
    CSR("csrc mstatus, %0", MSTATUS_MIE);
    if (bp_ring_is_empty()) {
        uint64_t until = mtime() + MTIME_HZ / 100u;

        MTIMECMP_HIGH = 0xFFFFFFFFu; /* never, while it is half written */
        MTIMECMP_LOW = (uint32_t)until;
        MTIMECMP_HIGH = (uint32_t)(until >> 32);
        CSR("csrs mie, %0", MIE_TIMER);
        __asm__ volatile("wfi");
        CSR("csrc mie, %0", MIE_TIMER);
    }
    CSR("csrs mstatus, %0", MSTATUS_MIE);
}
