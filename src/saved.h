/* saved.h: the file of programs as C reads it.  Internal to module.c and saved.c.
 *
 * A file is safetensors, written by cybackprop/io/packing.py: eight bytes with the length of a JSON header, the
 * header, the data.  C does not read the header but for its checksum, the CRC-32 of the file with the checksum's own digits as
 * zeros: the first tensor of the data, called "program", says everything again, in 64-bit integers, little-endian.
 * Nothing in it is code, and nothing names a file.
 *
 *     tensor    MAGIC, VERSION, its integers, bytes of all data, symbols, arrays, programs
 *     symbols   n, then n texts: the names of operations (op.def) and of rows of the tables
 *     arrays    n, then each: role (0 state, 1 constant), text, dtype, axes, their lengths, offset in the data
 *               in the order in which they lie there, without gaps, behind the tensor itself
 *     programs  n, then each: text, batch, values, instructions, inputs, results
 *               batch: the one it was recorded at, 0: it runs at that alone
 *     values    n, then each: place (cbp_place), dtype, axes, a number for each length, of, array (-1: none)
 *               a constant without array, besides: form, x.  All its elements are: 0: the double with the bits of x's c,
 *               1: x, 2: 1 / x.  Or 3: element i is c + d i, of the same x
 *     instructions  n, then each: symbol of the kind, row, flags, dtype, inputs, outputs, their values (-1: missing),
 *               the bits of p[0], p[1], how many attributes, a number each
 *               row: a symbol where it is one of a table, -1: none
 *               scan, while_loop, cond, besides: carries, slices, results of a step, and then what they run (loop.h), a
 *               scan one program, the others two: values, instructions, for each input of the instruction the value that
 *               it is there (-1: not read), for each result its value.  States that a body writes are inputs of it,
 *               states without array; it is recorded as programs are, and built when the program is bound
 *     inputs, results   n, then each: text, value
 *     number    c, d: c + d B at batch B
 *     text      bytes, then UTF-8, with zeros up to whole integers, one zero at least
 *
 * dtypes, places, comparisons are numbered as in cbp.h, program.h, integer.h: those lists only grow at their ends.
 * VERSION is 2 where something is run by a loop, else 1, so that readers of 1 refuse only what they do not know.
 */
#ifndef CBP_SAVED_H
#define CBP_SAVED_H

#include "check.h"

#define CBP_SAVED_MAGIC "cbp-prog"
enum { CBP_SAVED_VERSION = 2, CBP_SAVED_DEPTH = 16, CBP_HEADER_MAX = 1 << 20 };   /* DEPTH: loops inside loops */

typedef struct {
    const char *name;                  /* in the file */
    int32_t value;
    int64_t at;                        /* where its value is described */
} cbp_saved_port;

typedef struct {
    const char *name;
    int64_t batch, at;                 /* recorded batch, 0: fixed; where its values begin */
    int32_t n_inputs, n_results;
    cbp_saved_port *inputs, *results;
} cbp_saved_program;

typedef struct {
    const char *name;
    int state;
    cbp_array *array;
    size_t offset;                     /* in the file */
} cbp_saved_array;

typedef struct {
    const char *name;
    int32_t kind, unary, binary, integer, optim;     /* what it names, -1: nothing of that sort */
} cbp_saved_symbol;

typedef struct {
    unsigned char *file;
    size_t size, data;                 /* bytes of the file; where its data begin */
    const unsigned char *words;        /* the tensor */
    int64_t n_words;
    int32_t n_symbols, n_arrays, n_programs;
    cbp_saved_symbol *symbols;
    cbp_saved_array *arrays;
    cbp_saved_program *programs;
} cbp_saved;

/* Reads a file from memory, which is copied.  checked: the checksum must be right.  Whatever comes, cbp_saved_close. */
cbp_status cbp_saved_open(cbp_saved *s, const void *file, size_t size, int checked, char *message);
void cbp_saved_close(cbp_saved *s);
/* A program of the file at a batch size, checked and built: CBP_OK, CBP_NOMEM, CBP_OUT_OF_RANGE.  most: bytes that all its
 * values may take, 0: any. */
cbp_status cbp_saved_bind(const cbp_saved *s, const cbp_saved_program *e, int64_t batch, size_t most, cbp_program **p,
                          char *message);
/* Axis i of a port has c[i] + d[i] B elements; returns how many axes there are, CBP_MAX_DIMS at most. */
int cbp_saved_shape(const cbp_saved *s, const cbp_saved_port *port, cbp_dtype *dtype, int64_t *c, int64_t *d);
/* The file with the states as they are now, the checksum right: s->size bytes. */
void cbp_saved_write(const cbp_saved *s, void *to);

#endif
