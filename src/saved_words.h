/* saved_words.h: the integers and texts of a saved program, one after the other.  Part of saved.c and saved_program.c.
 *
 * Every integer comes through next(), which knows where the tensor ends; after the first thing that is wrong all is 0.
 */
#ifndef CBP_SAVED_WORDS_H
#define CBP_SAVED_WORDS_H

#include "saved.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const cbp_saved *s;
    int64_t at, end;                   /* the next integer; past the last */
    const char *wrong;                 /* the first thing that was */
} cbp_reader;

static inline uint64_t word_at(const unsigned char *bytes)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) v = v << 8 | bytes[i];
    return v;
}

static inline int64_t next(cbp_reader *r)
{
    if (r->at >= r->end) {
        if (!r->wrong) r->wrong = "the description ends too early";
        return 0;
    }
    return (int64_t)word_at(r->s->words + 8 * r->at++);
}

static inline int64_t next_in(cbp_reader *r, int64_t low, int64_t high, const char *what)
{
    const int64_t v = next(r);
    if ((v < low || v > high) && !r->wrong) r->wrong = what;
    return r->wrong ? low : v;
}

/* How many things follow, each of which takes `least` integers: no more than are left. */
static inline int32_t next_count(cbp_reader *r, int64_t least)
{
    int64_t most = (r->end - r->at) / least;
    if (most > INT32_MAX / 4) most = INT32_MAX / 4;
    return (int32_t)next_in(r, 0, most, "a count is larger than the file");
}

static inline double next_double(cbp_reader *r)
{
    const int64_t bits = next(r);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* c + d B; 0 and an error where it leaves the integers. */
static inline int64_t next_number(cbp_reader *r, int64_t batch)
{
    const int64_t c = next(r);
    int64_t v = next(r);
    if (__builtin_mul_overflow(v, batch, &v) || __builtin_add_overflow(v, c, &v)) {
        if (!r->wrong) r->wrong = "a number is too large at this batch size";
        return 0;
    }
    return v;
}

/* A text that C can show: it has its end, and no characters that steer a terminal. */
static inline const char *next_text(cbp_reader *r)
{
    const int64_t bytes = next_in(r, 0, 8 * (r->end - r->at) - 9, "a text is longer than the file");
    const char *text = (const char *)r->s->words + 8 * r->at;
    if (r->wrong) return "";
    r->at += bytes / 8 + 1;
    for (int64_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 127) r->wrong = "a text has a character that is none";
    for (int64_t i = bytes; i < bytes / 8 * 8 + 8; i++)
        if (text[i]) r->wrong = "a text does not end";
    return text;
}

static inline void *room(cbp_reader *r, int64_t n, size_t item)
{
    void *list = calloc((size_t)n + 1, item);
    if (!list && !r->wrong) r->wrong = "";             /* no memory */
    return list;
}

static inline cbp_status verdict(const cbp_reader *r, char *message)
{
    if (!r->wrong) return CBP_OK;
    return *r->wrong ? cbp_say(message, CBP_BAD_FILE, "%s", r->wrong) : cbp_say(message, CBP_NOMEM, "no memory");
}

/* saved_program.c: the program that r stands at, tried at the batch size it was recorded at */
cbp_status cbp_saved_read_entry(cbp_reader *r, cbp_saved_program *e, char *message);
/* saved.c: wrong if two of the texts are one.  They are sorted. */
void cbp_saved_unique(cbp_reader *r, const char **texts, int32_t n);

#endif
