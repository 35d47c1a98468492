/* saved.c: the file and its arrays.  The format: saved.h.
 *
 * The reader is total: any bytes give programs or CBP_BAD_FILE, and what it allocates before it has checked a program
 * is a small multiple of the file.
 */
#include "saved_words.h"

#include "integer.h"
#include "rows.h"

/* ---- the container ---- */

static uint32_t crc32_of(uint32_t crc, const unsigned char *bytes, size_t n)
{
    uint32_t table[16];
    for (uint32_t i = 0; i < 16; i++) {
        table[i] = i;
        for (int k = 0; k < 4; k++) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xEDB88320u : 0);
    }
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc = crc >> 4 ^ table[(crc ^ bytes[i]) & 15];
        crc = crc >> 4 ^ table[(crc ^ bytes[i] >> 4) & 15];
    }
    return ~crc;
}

/* The eight digits of the checksum in the header; NULL unless they are there once. */
static unsigned char *digits_of(const cbp_saved *s)
{
    static const char key[] = "\"cybackprop.crc32\":\"";
    enum { KEY = sizeof key - 1, DIGITS = 8 };
    unsigned char *found = NULL;
    for (size_t i = 8; i + KEY + DIGITS < s->data; i++) {
        if (memcmp(s->file + i, key, KEY)) continue;
        if (found || s->file[i + KEY + DIGITS] != '"') return NULL;
        found = s->file + i + KEY;
    }
    return found;
}

static void put_checksum(const unsigned char *file, size_t size, size_t digits, char *to)
{
    const unsigned char *zeros = (const unsigned char *)"00000000";
    uint32_t crc = crc32_of(crc32_of(crc32_of(0, file, digits), zeros, 8), file + digits + 8, size - digits - 8);
    for (int i = 7; i >= 0; i--, crc >>= 4) to[i] = "0123456789abcdef"[crc & 15];
}

static cbp_status open_file(cbp_saved *s, const void *file, size_t size, int checked, char *message)
{
    const uint64_t header = size < 8 ? 0 : word_at(file);
    if (size < 16 || header > CBP_HEADER_MAX || header > size - 16)
        return cbp_say(message, CBP_BAD_FILE, "it is no safetensors file, or cut short (%zu bytes)", size);
    s->file = malloc(size);
    if (!s->file) return cbp_say(message, CBP_NOMEM, "no memory");
    memcpy(s->file, file, size);
    s->size = size, s->data = 8 + (size_t)header;
    char wanted[8];
    const unsigned char *digits = checked ? digits_of(s) : NULL;
    if (digits) put_checksum(s->file, size, (size_t)(digits - s->file), wanted);
    if (checked && (!digits || memcmp(digits, wanted, 8)))
        return cbp_say(message, CBP_BAD_FILE,
                       "its checksum is wrong or missing: it is damaged, or was changed by another program");
    s->words = s->file + s->data;
    s->n_words = (int64_t)((size - s->data) / 8);
    return CBP_OK;
}

/* ---- symbols and arrays ---- */

#define FIND(place, n, rows) for (int k = 0; k < (n); k++) if (!strcmp(y->name, (rows)[k].name)) place = k

static void read_symbols(cbp_saved *s, cbp_reader *r)
{
    s->n_symbols = next_count(r, 2);
    s->symbols = room(r, s->n_symbols, sizeof *s->symbols);
    for (int32_t i = 0; i < s->n_symbols && !r->wrong; i++) {
        cbp_saved_symbol *y = &s->symbols[i];
        *y = (cbp_saved_symbol){next_text(r), -1, -1, -1, -1, -1};
        FIND(y->kind, CBP_N_OPS, cbp_op_infos);
        FIND(y->unary, cbp_n_unary, cbp_unary_rows);
        FIND(y->binary, cbp_n_binary, cbp_binary_rows);
        FIND(y->integer, CBP_N_INTEGER, cbp_integer_rows);
        FIND(y->optim, cbp_n_optim, cbp_optim_rows);
    }
}

/* Elements between the file's byte order and this machine's; to may be from. */
static void move_elements(void *to, const void *from, ptrdiff_t n, size_t item)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    unsigned char *y = to;
    const unsigned char *x = from;
    for (ptrdiff_t i = 0; i < n; i++, x += item, y += item)
        for (size_t k = 0; k < item; k++) y[k] = x[item - 1 - k];
#else
    memcpy(to, from, (size_t)n * item);
#endif
}

/* An array of the file; *at: where in the data the last one ended. */
static void read_array(cbp_saved *s, cbp_reader *r, cbp_saved_array *a, int64_t *at)
{
    ptrdiff_t shape[CBP_MAX_DIMS], size = 1;
    a->state = next_in(r, 0, 1, "an array is neither state nor constant") == 0;
    a->name = next_text(r);
    const cbp_dtype dtype = (cbp_dtype)next_in(r, 0, CBP_N_DTYPES - 1, "an array has no known dtype");
    const int ndim = (int)next_in(r, 0, CBP_MAX_DIMS, "an array has too many axes");
    for (int i = 0; i < ndim; i++) {
        shape[i] = (ptrdiff_t)next_in(r, 0, PTRDIFF_MAX / 64, "an array has no valid shape");
        if (__builtin_mul_overflow(size, shape[i], &size) || size > PTRDIFF_MAX / 64) r->wrong = "an array is too big";
    }
    const int64_t offset = next_in(r, *at, *at, "arrays do not lie one behind the other");
    const size_t item = cbp_itemsize(dtype), left = s->size - s->data - (size_t)*at;
    if (!r->wrong && ((size_t)size > left / item || offset % (int64_t)item)) r->wrong = "an array is outside the file";
    if (r->wrong) return;
    a->offset = s->data + (size_t)offset;
    *at += size * (int64_t)item;
    for (ptrdiff_t i = 0; dtype == CBP_BOOL && i < size; i++)
        if (s->file[a->offset + (size_t)i] > 1) r->wrong = "an array of bools holds other bytes than 0 and 1";
    a->array = cbp_array_new(dtype, ndim, shape);
    if (!a->array && !r->wrong) r->wrong = "";
    if (!a->array) return;
    a->array->mutable = (uint8_t)a->state;
    move_elements(a->array->data, s->file + a->offset, size, item);
}

/* ---- the whole ---- */

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

void cbp_saved_unique(cbp_reader *r, const char **texts, int32_t n)
{
    qsort(texts, (size_t)n, sizeof *texts, by_text);
    for (int32_t i = 1; i < n; i++)
        if (!strcmp(texts[i - 1], texts[i]) && !r->wrong) r->wrong = "a name is there twice";
}

static void read_arrays(cbp_saved *s, cbp_reader *r)
{
    const int64_t data = (int64_t)(s->size - s->data);
    int64_t at = 8 * s->n_words;
    s->n_arrays = next_count(r, 6);
    s->arrays = room(r, s->n_arrays, sizeof *s->arrays);
    const char **names = room(r, s->n_arrays, sizeof *names);
    for (int32_t i = 0; i < s->n_arrays && !r->wrong; i++) {
        read_array(s, r, &s->arrays[i], &at);
        names[i] = s->arrays[i].name;
    }
    if (!r->wrong && at != data) r->wrong = "the file holds more than its arrays";
    if (!r->wrong) cbp_saved_unique(r, names, s->n_arrays);
    free(names);
}

static cbp_status read_programs(cbp_saved *s, cbp_reader *r, char *message)
{
    s->n_programs = next_count(r, 7);
    s->programs = room(r, s->n_programs, sizeof *s->programs);
    const char **names = room(r, s->n_programs, sizeof *names);
    cbp_status status = verdict(r, message);
    for (int32_t i = 0; i < s->n_programs && status == CBP_OK; i++) {
        status = cbp_saved_read_entry(r, &s->programs[i], message);
        names[i] = s->programs[i].name;
    }
    if (status == CBP_OK) {
        cbp_saved_unique(r, names, s->n_programs);
        if (!r->wrong && r->at != r->end) r->wrong = "the description goes on behind its end";
        status = verdict(r, message);
    }
    free(names);
    return status;
}

static cbp_status read_all(cbp_saved *s, char *message)
{
    cbp_reader r = {s, 1, s->n_words, NULL};
    if (s->n_words < 8 || memcmp(s->words, CBP_SAVED_MAGIC, 8))
        return cbp_say(message, CBP_BAD_FILE, "it holds no program; Compiled.save writes those");
    const int64_t version = next(&r), data = (int64_t)(s->size - s->data);
    if (version < 1 || version > CBP_SAVED_VERSION)
        return cbp_say(message, CBP_BAD_FILE, "its programs are of version %lld, this cybackprop reads %d",
                       (long long)version, CBP_SAVED_VERSION);
    r.end = s->n_words = next_in(&r, 8, s->n_words, "the description is longer than the file");
    next_in(&r, data, data, "the file is longer or shorter than it says");
    read_symbols(s, &r);
    read_arrays(s, &r);
    return read_programs(s, &r, message);
}

cbp_status cbp_saved_open(cbp_saved *s, const void *file, size_t size, int checked, char *message)
{
    memset(s, 0, sizeof *s);
    const cbp_status status = open_file(s, file, size, checked, message);
    return status == CBP_OK ? read_all(s, message) : status;
}

void cbp_saved_close(cbp_saved *s)
{
    for (int32_t i = 0; i < s->n_arrays && s->arrays; i++) cbp_array_drop(s->arrays[i].array);
    for (int32_t i = 0; i < s->n_programs && s->programs; i++)
        free(s->programs[i].inputs), free(s->programs[i].results);
    free(s->symbols), free(s->arrays), free(s->programs), free(s->file);
}

void cbp_saved_write(const cbp_saved *s, void *to)
{
    unsigned char *file = to;
    const unsigned char *digits = digits_of(s);
    memcpy(file, s->file, s->size);
    for (int32_t i = 0; i < s->n_arrays; i++) {
        const cbp_saved_array *x = &s->arrays[i];
        const size_t item = cbp_itemsize((cbp_dtype)x->array->dtype);
        if (x->state) move_elements(file + x->offset, x->array->data, x->array->size, item);
    }
    if (digits) put_checksum(file, s->size, (size_t)(digits - s->file), (char *)file + (digits - s->file));
}
