/* avr_chip.c -- USART0 and the EEPROM of ATmega328P and ATmega2560, as in their data sheets.
 *
 * simavr 1.6 has both, but receives 64 bytes where the silicon holds three, counts 11 bits a byte,
 * sends without a second buffer, and writes the EEPROM in no time.
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "avr_sim.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Addresses in data space and bits, the same on both parts. */
enum {
    UCSRA = 0xC0,
    UCSRB = 0xC1,
    UCSRC = 0xC2,
    UBRRL = 0xC4,
    UBRRH = 0xC5,
    UDR = 0xC6,
    RXC = 0x80,
    TXC = 0x40,
    UDRE = 0x20,
    DOR = 0x08,
    U2X = 0x02,
    MPCM = 0x01,
    RXEN = 0x10,
    TXEN = 0x08,
    EECR = 0x3F,
    EEDR = 0x40,
    EEARL = 0x41,
    EEARH = 0x42,
    EEPM = 0x30,
    EERIE = 0x08,
    EEMPE = 0x04,
    EEPE = 0x02,
    EERE = 0x01,
};

enum { DEFAULT_BAUD = 115200, BITS = 10 };

uint64_t chip_next = NEVER;

/* ---- Receiver: two bytes in the buffer, one in the shift register that waits for room -------- */

static uint8_t fifo[2];
static int fifo_count;
static int waiting = -1;
static uint64_t rx_end = NEVER; /* of the stop bit of the byte on the line */
static uint8_t rx_byte;
static bool rx_heard; /* the receiver was on at its start */
static bool line_waits; /* until the receiver is on for the first time */

/* ---- Transmitter: a shift register and a buffer ---------------------------------------------- */

static uint64_t tx_end = NEVER;
static uint8_t tx_byte;
static int tx_buffer = -1;

/* ---- EEPROM ---------------------------------------------------------------------------------- */

static uint8_t *eeprom;
static uint32_t eeprom_size;
static uint64_t ee_end = NEVER;
static uint64_t ee_window = NEVER; /* end of the cycles in which EEPE may follow EEMPE */
static uint32_t ee_address;
static uint8_t ee_data;
static uint8_t ee_mode;

static void set_next(void)
{
    uint64_t next = rx_end < tx_end ? rx_end : tx_end;

    next = ee_end < next ? ee_end : next;
    chip_next = ee_window < next ? ee_window : next;
}

static uint32_t bit_cycles(void)
{
    uint32_t ubrr = avr->data[UBRRL] | (uint32_t)(avr->data[UBRRH] & 0x0F) << 8;

    return (avr->data[UCSRA] & U2X ? 8u : 16u) * (ubrr + 1u);
}

/* What a receiver makes of a byte when sender and receiver differ in speed: it looks at the line in
 * the middle of what it takes for bits.
 */
static uint8_t heard_at(uint8_t byte, double sender_baud, double receiver_baud)
{
    unsigned int levels = (unsigned int)byte << 1 | 0xFFFFFE00u; /* start bit 0, then idle 1 */
    uint8_t heard = 0;

    for (int i = 0; i < 8; i++) {
        int bit = (int)((i + 1.5) * sender_baud / receiver_baud);

        heard |= (uint8_t)((bit > 31 ? 1u : levels >> bit & 1u) << i);
    }
    return heard;
}

/* The byte as it arrives at the other end; warns once for each pair of rates that does not fit. */
static uint8_t across(uint8_t byte, bool to_board)
{
    static uint32_t warned_host, warned_board;
    uint32_t host = host_baud();
    double board = (double)avr->frequency / bit_cycles();

    if (host == 0 || (host < 1.045 * board && host > 0.955 * board)) {
        return byte;
    }
    if (host != warned_host || (uint32_t)board != warned_board) {
        warned_host = host;
        warned_board = (uint32_t)board;
        fprintf(stderr, "avr_sim: the host uses %u baud and the board %.0f: bytes are garbled\n",
                host, board);
    }
    return to_board ? heard_at(byte, host, board) : heard_at(byte, board, host);
}

/* ---- Line ------------------------------------------------------------------------------------ */

static void start_rx(uint64_t cycle)
{
    uint32_t host;

    if (rx_end != NEVER || line_waits || !host_next(&rx_byte)) {
        return;
    }
    rx_heard = avr->data[UCSRB] & RXEN;
    if (rx_heard) {
        rx_end = cycle + BITS * bit_cycles();
    } else {
        host = host_baud();
        rx_end = cycle + (uint64_t)BITS * avr->frequency / (host ? host : DEFAULT_BAUD);
    }
    if (rx_heard && waiting >= 0) { /* its start bit overwrites the shift register */
        waiting = -1;
        avr->data[UCSRA] |= DOR;
        overruns++;
    }
}

static void end_rx(void)
{
    uint64_t end = rx_end;

    meter_byte(end, true, rx_byte);
    if (rx_heard && avr->data[UCSRB] & RXEN) {
        uint8_t byte = across(rx_byte, true);

        if (fifo_count < 2) {
            fifo[fifo_count++] = byte;
            avr->data[UCSRA] |= RXC;
        } else {
            waiting = byte;
        }
    }
    rx_end = NEVER;
    start_rx(end);
}

static void end_tx(void)
{
    meter_byte(tx_end, false, tx_byte);
    host_take(across(tx_byte, false));
    if (tx_buffer < 0) {
        tx_end = NEVER;
        avr->data[UCSRA] |= TXC;
        return;
    }
    tx_byte = (uint8_t)tx_buffer;
    tx_buffer = -1;
    tx_end += BITS * bit_cycles();
    avr->data[UCSRA] |= UDRE;
}

static void end_eeprom_write(void)
{
    if (ee_mode != 1) {
        eeprom[ee_address] = ee_mode == 2 ? eeprom[ee_address] & ee_data : ee_data;
    }
    ee_end = NEVER;
    avr->data[EECR] &= (uint8_t)~EEPE;
}

void chip_run(void)
{
    uint64_t now = avr->cycle;

    while (chip_next <= now) {
        if (rx_end == chip_next) {
            end_rx();
        } else if (tx_end == chip_next) {
            end_tx();
        } else if (ee_end == chip_next) {
            end_eeprom_write();
        } else {
            ee_window = NEVER;
            avr->data[EECR] &= (uint8_t)~EEMPE;
        }
        set_next();
    }
}

void chip_line_open(void)
{
    start_rx(avr->cycle);
    set_next();
}

bool chip_line_idle(void)
{
    return rx_end == NEVER && tx_end == NEVER && !(host_has_bytes() && !line_waits);
}

bool chip_eeprom_busy(void)
{
    return ee_end != NEVER;
}

/* ---- Registers ------------------------------------------------------------------------------- */

static uint8_t read_udr(avr_t *core, avr_io_addr_t address, void *unused)
{
    uint8_t byte = fifo[0];

    (void)address;
    (void)unused;
    core->data[UCSRA] &= (uint8_t)~DOR;
    if (fifo_count == 0) {
        return byte;
    }
    fifo[0] = fifo[1];
    fifo_count--;
    if (waiting >= 0) {
        fifo[fifo_count++] = (uint8_t)waiting;
        waiting = -1;
    }
    if (fifo_count == 0) {
        core->data[UCSRA] &= (uint8_t)~RXC;
    }
    return byte;
}

static void write_udr(avr_t *core, avr_io_addr_t address, uint8_t value, void *unused)
{
    (void)address;
    (void)unused;
    if (!(core->data[UCSRB] & TXEN) || !(core->data[UCSRA] & UDRE)) {
        return; /* the silicon ignores it as well */
    }
    if (tx_end == NEVER) {
        tx_byte = value;
        tx_end = core->cycle + BITS * bit_cycles();
        board_baud = core->frequency / bit_cycles();
    } else {
        tx_buffer = value;
        core->data[UCSRA] &= (uint8_t)~UDRE;
    }
    set_next();
}

static void write_ucsra(avr_t *core, avr_io_addr_t address, uint8_t value, void *unused)
{
    uint8_t kept = core->data[UCSRA] & (uint8_t)~(U2X | MPCM);

    (void)address;
    (void)unused;
    if (value & TXC) {
        kept &= (uint8_t)~TXC;
    }
    core->data[UCSRA] = kept | (value & (U2X | MPCM));
}

static void flush_receiver(void)
{
    fifo_count = 0;
    waiting = -1;
    rx_heard = false;
    avr->data[UCSRA] &= (uint8_t)~(RXC | DOR);
}

static void write_ucsrb(avr_t *core, avr_io_addr_t address, uint8_t value, void *unused)
{
    (void)address;
    (void)unused;
    core->data[UCSRB] = value;
    if (!(value & RXEN)) {
        flush_receiver();
    } else {
        line_waits = false;
        board_baud = core->frequency / bit_cycles();
        chip_line_open();
    }
}

static void write_eecr(avr_t *core, avr_io_addr_t address, uint8_t value, void *unused)
{
    static const double seconds[4] = {0.0034, 0.0018, 0.0018, 0.0034};
    uint8_t old = core->data[EECR];
    uint8_t control = value & EERIE;
    uint32_t cell = (core->data[EEARL] | (uint32_t)core->data[EEARH] << 8) % eeprom_size;

    (void)address;
    (void)unused;
    control |= (old & EEPE ? old : value) & EEPM;
    control |= old & (EEPE | EEMPE);
    if (value & EEPE && old & EEMPE && !(old & EEPE)) {
        ee_address = cell;
        ee_data = core->data[EEDR];
        ee_mode = (value & EEPM) >> 4;
        ee_end = core->cycle + 2 + (uint64_t)(core->frequency * seconds[ee_mode]);
        ee_window = NEVER;
        control = (uint8_t)((control & ~EEMPE) | EEPE);
        core->cycle += 2; /* the CPU is halted */
        eeprom_writes++;
        if (ee_mode != 2) {
            eeprom[cell] = 0xFF; /* what a cut leaves */
        }
    } else if (value & EEMPE && !(old & EEMPE)) {
        control |= EEMPE;
        /* Written by an instruction of two cycles, and good for four more. */
        ee_window = core->cycle + 6;
    }
    if (value & EERE && !(old & EEPE)) {
        core->data[EEDR] = eeprom[cell];
        core->cycle += 4;
    }
    core->data[EECR] = control;
    set_next();
}

/* ---- Start and reset ------------------------------------------------------------------------- */

static void take_over(uint16_t address, avr_io_read_t read, avr_io_write_t write)
{
    avr->io[AVR_DATA_TO_IO(address)].r.c = read;
    avr->io[AVR_DATA_TO_IO(address)].w.c = write;
}

/* The file itself is mapped, so that it holds each byte as soon as the EEPROM does, even if this
 * process is killed.
 */
static uint8_t *map_eeprom(const char *path, bool *is_new)
{
    struct stat status;
    uint8_t *cells;
    int file = open(path, O_RDWR | O_CREAT, 0666);

    if (file < 0 || fstat(file, &status) != 0) {
        refuse("cannot open the EEPROM file %s", path);
    }
    if (status.st_size != 0 && status.st_size != (off_t)eeprom_size) {
        refuse("%s has %lld bytes, the EEPROM of the %s has %u", path, (long long)status.st_size,
               avr->mmcu, eeprom_size);
    }
    *is_new = status.st_size == 0;
    if (ftruncate(file, eeprom_size) != 0) {
        refuse("cannot write the EEPROM file %s", path);
    }
    cells = mmap(NULL, eeprom_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (cells == MAP_FAILED) {
        refuse("cannot map the EEPROM file %s", path);
    }
    close(file);
    return cells;
}

void chip_begin(const elf_firmware_t *firmware, const char *eeprom_path, bool waits)
{
    bool is_new = true;

    take_over(UCSRA, NULL, write_ucsra);
    take_over(UCSRB, NULL, write_ucsrb);
    take_over(UCSRC, NULL, NULL);
    take_over(UBRRL, NULL, NULL);
    take_over(UBRRH, NULL, NULL);
    take_over(UDR, read_udr, write_udr);
    take_over(EECR, NULL, write_eecr);

    eeprom_size = avr->e2end + 1u;
    eeprom = eeprom_path ? map_eeprom(eeprom_path, &is_new) : malloc(eeprom_size);
    if (is_new) {
        memset(eeprom, 0xFF, eeprom_size);
        if (firmware->eeprom) {
            memcpy(eeprom, firmware->eeprom,
                   firmware->eesize < eeprom_size ? firmware->eesize : eeprom_size);
        }
    }
    line_waits = waits;
    chip_reset();
}

void chip_reset(void)
{
    if (rx_end < avr->cycle) { /* it went by while the chip was held */
        rx_end = NEVER;
    }
    tx_end = NEVER;
    tx_buffer = -1;
    ee_window = NEVER;
    avr->data[UCSRA] = UDRE;
    avr->data[UCSRB] = 0;
    avr->data[UCSRC] = 0x06;
    /* A write that has begun goes on through a reset. */
    avr->data[EECR] = ee_end != NEVER ? EEPE : 0;
    flush_receiver();
    set_next();
}
