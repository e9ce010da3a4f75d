/* bpgen_port.c -- RV32 with a 16550 UART, a CLINT and a PLIC, as QEMU's machine "virt".
 *
 * SPDX-License-Identifier: 0BSD
 */
#include "bpgen_device.h"
#include "bpgen_port.h"
#include "bpgen_wire.h"

#define BYTE_REGISTER(address) (*(volatile uint8_t *)(address))
#define REGISTER(address) (*(volatile uint32_t *)(address))

#define UART_DATA BYTE_REGISTER(0x10000000u)
#define UART_IER BYTE_REGISTER(0x10000001u)
#define UART_FCR BYTE_REGISTER(0x10000002u)
#define UART_LCR BYTE_REGISTER(0x10000003u)
#define UART_MCR BYTE_REGISTER(0x10000004u)
#define UART_LSR BYTE_REGISTER(0x10000005u)
#define MTIME_LOW REGISTER(0x0200BFF8u)
#define MTIME_HIGH REGISTER(0x0200BFFCu)
#define MTIMECMP_LOW REGISTER(0x02004000u)
#define MTIMECMP_HIGH REGISTER(0x02004004u)
#define PLIC_PRIORITY(source) REGISTER(0x0C000000u + 4u * (source))
#define PLIC_ENABLE REGISTER(0x0C002000u)
#define PLIC_THRESHOLD REGISTER(0x0C200000u)
#define PLIC_CLAIM REGISTER(0x0C200004u)

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

#define RING 512u /* bytes, a power of two; one stays free */

void External_Handler(void);

static volatile uint8_t ring[RING];
static volatile uint16_t ring_in; /* the interrupt's; ring_out is the reader's */
static volatile uint16_t ring_out;
static volatile uint32_t lost;
static uint8_t reset_cause = BP_RESET_UNKNOWN;

/* Outlives a reset: start.c leaves .noinit alone. */
static struct {
    uint32_t mark;
    uint16_t boots;
    uint16_t inverse;
} memory __attribute__((section(".noinit")));

#define MEMORY_MARK 0x42507265u

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
    uint8_t kept = memory.mark == MEMORY_MARK && (memory.boots ^ memory.inverse) == 0xFFFFu;

    if (!kept) {
        reset_cause = BP_RESET_POWER_ON;
    }
    memory.boots = (uint16_t)(kept ? memory.boots + 1 : 1);
    memory.inverse = (uint16_t)~memory.boots;
    memory.mark = MEMORY_MARK;

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
            lost++;
        }
        if (status & LSR_RECEIVED) {
            uint8_t byte = UART_DATA;
            uint16_t next = (uint16_t)((ring_in + 1u) % RING);

            if (next == ring_out) {
                lost++;
            } else {
                ring[ring_in] = byte;
                ring_in = next;
            }
        }
    }
    PLIC_CLAIM = source; /* done */
}

int16_t bp_port_read(void)
{
    uint8_t byte;

    if (ring_in == ring_out) {
        return -1;
    }
    byte = ring[ring_out];
    ring_out = (uint16_t)((ring_out + 1u) % RING);
    return byte;
}

void bp_port_write(uint8_t byte)
{
    while ((UART_LSR & LSR_ROOM) == 0) {
    }
    UART_DATA = byte;
}

uint32_t bp_port_clock(void) { return (uint32_t)(mtime() / (MTIME_HZ / 1000000u)); }

/* mtimecmp ends it after 10 ms: a pending interrupt does so though all are masked. */
void bp_port_idle(void)
{
    CSR("csrc mstatus, %0", MSTATUS_MIE);
    if (ring_in == ring_out) {
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

uint16_t bp_port_reset(uint8_t *cause)
{
    *cause = reset_cause;
    return memory.boots;
}

uint16_t bp_port_lost(void)
{
    uint32_t n = lost;

    return n < 0xFFFFu ? (uint16_t)n : 0xFFFFu;
}
