/* count.c -- a plugin of QEMU (TCG plugins, API 1 of QEMU 4.2 to 8.2) that counts the instructions
 * of functions, what they call included, interrupt handlers not.
 *
 *   gcc -shared -fPIC -O2 count.c -o count.so
 *   qemu-system-arm ... -plugin count.so,out=FILE,reset=A,function=NAME@A+SIZE,handler=A+SIZE
 *
 * Addresses are of a 32-bit Thumb or RISC-V image. Writes, when QEMU ends,
 * {"instructions": ..., "functions": {NAME: {"calls", "min", "max", "mean"}}}. A call counts from
 * the function's first instruction to its return, that included; the call itself not. So the
 * figures do not depend on when an interrupt comes, nor on how often a loop waits outside.
 *
 * SPDX-License-Identifier: 0BSD
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is used of qemu-plugin.h, which distributions do not package. */
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef struct {
    const char *target_name;
} qemu_info_t;

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t,
                                           void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*)(unsigned, void *),
                                          int flags, void *);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

int qemu_plugin_version = 1;

#define MAX_RANGES 64
#define MAX_DEPTH 4096

typedef struct {
    uint64_t from, to;
} range_t;

typedef struct {
    char *name;
    range_t range;
    uint64_t calls, sum, least, most;
} function_t;

/* A translated block: instructions that run one after the other, from `start` up to `end`. */
typedef struct {
    uint64_t start, end;
    uint64_t instructions;
    bool calls;           /* ends in an instruction that calls */
    bool handles;         /* belongs to an interrupt handler */
    function_t *function; /* begins this function, or NULL */
} block_t;

/* A call that has not returned. `back` is where to; a jump into a function, in place of a call,
 * returns with the call below it.
 */
typedef struct {
    uint64_t back;
    bool jump;
    function_t *function; /* NULL: not counted */
    uint64_t began;
} call_t;

static bool riscv;
static char *out;
static uint64_t reset_at;
static range_t handlers[MAX_RANGES];
static function_t functions[MAX_RANGES];
static size_t n_handlers, n_functions;

static uint64_t total;
static call_t calls[MAX_DEPTH];
static size_t depth;
static const block_t *previous;

static bool within(range_t range, uint64_t address)
{
    return address >= range.from && address < range.to;
}

/* The length of an instruction, and whether it calls: saves the address behind it. QEMU's own
 * length is wrong at the end of a page.
 */
static uint64_t length_of(const uint8_t *code, bool *is_call)
{
    uint32_t first = (uint32_t)code[0] | (uint32_t)code[1] << 8, second, word;
    bool is_long = riscv ? (first & 3) == 3 : first >> 11 >= 0x1D;

    if (!is_long) {
        *is_call = riscv ? (first & 0xE003) == 0x2001 ||                            /* c.jal */
                               ((first & 0xF07F) == 0x9002 && (first & 0x0F80) != 0) /* c.jalr */
                         : (first & 0xFF87) == 0x4780;                              /* blx */
        return 2;
    }
    second = (uint32_t)code[2] | (uint32_t)code[3] << 8;
    word = first | second << 16;
    *is_call = riscv ? (word & 0xFFF) == 0x0EF || (word & 0x7FFF) == 0x00E7 /* jal, jalr */
                     : (first & 0xF800) == 0xF000 && (second & 0xD000) == 0xD000; /* bl */
    return 4;
}

/* Every call above `height` is over. */
static void unwind(size_t height)
{
    while (depth > height) {
        const call_t *call = &calls[--depth];
        function_t *f = call->function;

        if (f != NULL) {
            uint64_t n = total - call->began;
            f->least = f->calls == 0 || n < f->least ? n : f->least;
            f->most = n > f->most ? n : f->most;
            f->sum += n;
            f->calls++;
        }
    }
}

static void push(uint64_t back, bool jump, function_t *function)
{
    if (depth < MAX_DEPTH) {
        calls[depth++] = (call_t){back, jump, function, total};
    }
}

static void on_execution(unsigned cpu, void *data)
{
    const block_t *block = data;
    bool called = previous != NULL && previous->calls && block->start != previous->end;
    size_t i;

    (void)cpu;
    if (block->start == reset_at) {
        depth = 0;
        previous = NULL;
    }
    if (block->handles) {
        return;
    }
    if (called) {
        push(previous->end, false, block->function);
    } else {
        for (i = depth; i-- > 0;) {
            if (!calls[i].jump && calls[i].back == block->start) {
                unwind(i);
                break;
            }
        }
        if (block->function != NULL && previous != NULL &&
            !within(block->function->range, previous->start)) {
            push(0, true, block->function);
        }
    }
    total += block->instructions;
    previous = block;
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    size_t n = qemu_plugin_tb_n_insns(tb), i;
    const struct qemu_plugin_insn *last = qemu_plugin_tb_get_insn(tb, n - 1);
    block_t *block = calloc(1, sizeof *block); /* lives as long as QEMU may run it */

    (void)id;
    block->start = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
    block->end = qemu_plugin_insn_vaddr(last);
    block->end += length_of(qemu_plugin_insn_data(last), &block->calls);
    block->instructions = n;
    for (i = 0; i < n_handlers; i++) {
        block->handles |= within(handlers[i], block->start);
    }
    for (i = 0; i < n_functions; i++) {
        if (functions[i].range.from == block->start) {
            block->function = &functions[i];
        }
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_execution, 0, block);
}

static void on_end(qemu_plugin_id_t id, void *data)
{
    FILE *file = fopen(out, "w");
    size_t i;

    (void)id;
    (void)data;
    if (file == NULL) {
        perror(out);
        return;
    }
    fprintf(file, "{\"instructions\": %" PRIu64 ", \"functions\": {", total);
    for (i = 0; i < n_functions; i++) {
        const function_t *f = &functions[i];
        fprintf(file,
                "%s\"%s\": {\"calls\": %" PRIu64 ", \"min\": %" PRIu64 ", \"max\": %" PRIu64
                ", \"mean\": %.3f}",
                i == 0 ? "" : ", ", f->name, f->calls, f->least, f->most,
                f->calls == 0 ? 0.0 : (double)f->sum / (double)f->calls);
    }
    fprintf(file, "}}\n");
    fclose(file);
}

static bool read_range(const char *text, range_t *range)
{
    char *end;

    range->from = strtoull(text, &end, 0);
    if (*end != '+') {
        return false;
    }
    range->to = range->from + strtoull(end + 1, &end, 0);
    return *end == '\0';
}

static bool take(char *argument)
{
    char *value = strchr(argument, '='), *at;

    if (value == NULL) {
        return false;
    }
    *value++ = '\0';
    if (strcmp(argument, "out") == 0) {
        out = strdup(value);
        return true;
    }
    if (strcmp(argument, "reset") == 0) {
        reset_at = strtoull(value, NULL, 0);
        return true;
    }
    if (strcmp(argument, "handler") == 0) {
        return n_handlers < MAX_RANGES && read_range(value, &handlers[n_handlers++]);
    }
    at = strchr(value, '@');
    if (strcmp(argument, "function") != 0 || at == NULL || n_functions == MAX_RANGES) {
        return false;
    }
    *at = '\0';
    functions[n_functions].name = strdup(value);
    return read_range(at + 1, &functions[n_functions++].range);
}

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    int i;

    riscv = strncmp(info->target_name, "riscv", 5) == 0;
    for (i = 0; i < argc; i++) {
        if (!take(argv[i])) {
            fprintf(stderr, "count.c does not understand %s\n", argv[i]);
            return -1;
        }
    }
    if (out == NULL) {
        fprintf(stderr, "count.c needs out=FILE\n");
        return -1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
