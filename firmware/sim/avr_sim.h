/* avr_sim.h -- what the files of the AVR simulator share: see avr.c.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#ifndef AVR_SIM_H
#define AVR_SIM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <simavr/sim_avr.h>
#include <simavr/sim_core.h>
#include <simavr/sim_elf.h>

#define NEVER UINT64_MAX

enum { EXIT_USAGE = 2, EXIT_CRASH = 99, EXIT_TIMEOUT = 124 };

/* ---- avr.c ----------------------------------------------------------------------------------- */

extern avr_t *avr;

/* End the run with that exit code, after the instruction that is running. */
void stop(int code);

/* Whether the power is cut or the process that started this one is gone. */
bool asked_to_end(void);

/* Say what is wrong with the command line or its files, and exit. */
_Noreturn void refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- avr_chip.c: USART0 and the EEPROM as the silicon has them ------------------------------- */

/* The first cycle at which USART0 or the EEPROM have something to do. */
extern uint64_t chip_next;

/* Put the models in the place of simavr's; `firmware` may bring the EEPROM's first contents. A
 * path makes a file the EEPROM. If the line waits, the host's first byte comes when the receiver is
 * on.
 */
void chip_begin(const elf_firmware_t *firmware, const char *eeprom_path, bool line_waits);

/* After avr_reset(): what the reset does to them. */
void chip_reset(void);

/* Do what was due at chip_next. */
void chip_run(void);

/* The host may have bytes to send: the first starts at this cycle if the line is free. */
void chip_line_open(void);

/* Whether no byte is on the line or in the transmitter. */
bool chip_line_idle(void);
bool chip_eeprom_busy(void);

/* ---- avr_host.c: the other end of the line --------------------------------------------------- */

/* A new pseudo-terminal; later make the symbolic link `path` to it, and say so on stdout. */
void host_open_pty(const char *path);
void host_announce(void);

/* Or two files, each of which may be NULL. */
void host_open_files(const char *rx_path, const char *tx_path);
void host_close(void);
bool host_is_pty(void);

/* The next byte that the host sends; false when there is none. */
bool host_next(uint8_t *byte);
bool host_has_bytes(void);
void host_forget_bytes(void);
void host_take(uint8_t byte);

/* The baud rate of the host, 0 when not known. */
uint32_t host_baud(void);

/* Move bytes between the pty and the buffers, for at most `ns` until the first arrives. */
void host_wait(uint64_t ns);

/* Whether the port was opened since the last call. */
bool host_was_opened(void);

/* ---- avr_meter.c: what happened, counted ----------------------------------------------------- */

extern uint64_t instructions;
extern uint64_t bytes_rx, bytes_tx, overruns, eeprom_writes;
extern uint32_t board_baud;

/* What is at an address: a counted function, the program's noted state, bp_link_poll(). */
enum { MARK_FUNCTION = 1, MARK_STATE = 2, MARK_POLL = 4 };
extern uint8_t *marks; /* by word address */

void meter_begin(const elf_firmware_t *firmware, const char *const *functions, int count);
void meter_trace(const char *path);
void meter_byte(uint64_t cycle, bool rx, uint8_t byte);
void meter_reset(void);

/* The instruction at a function's first address is about to run. */
void meter_enter(void);

/* After each instruction. */
void meter_instruction(uint16_t opcode);

/* Name of the function at an address, for messages. */
const char *meter_name(uint32_t address);
void meter_write(const char *stats_path);

#endif
