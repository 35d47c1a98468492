/* turns.h: whose turn it is.  Programs run without the GIL, so each marks the arrays that it reads or writes (`busy` in
 * store.h); whoever finds a mark waits in a queue.  All of this runs under the GIL, which guards marks and queue.
 *
 * Who comes may pass those that wait, else each change of threads would cost a wake-up; but not those that are due, who
 * have waited a millisecond.
 */
#ifndef CBP_TURNS_H
#define CBP_TURNS_H

#include "store.h"

typedef struct cbp_turn {
    cbp_array **arrays;                /* views stand for what they are views of, NULL for nothing */
    int32_t n, n_written;              /* those that are written come first */
    int32_t due;                       /* nobody passes it any more */
    struct cbp_turn *next;             /* who came after it */
} cbp_turn;

extern cbp_turn *cbp_turns;            /* the queue, who came first in front */
extern unsigned cbp_turn_round;        /* counts the ends of turns */

/* Where nobody waits: marks arrays, none of them a view, if it is the turn of a program. */
int cbp_turn_quick(cbp_array *const *arrays, int32_t n, int32_t n_written);
void cbp_turn_quick_end(cbp_array *const *arrays, int32_t n, int32_t n_written);
/* Whether it is this turn. */
int cbp_turn_fits(const cbp_turn *t);
/* by: 1 puts the marks, -1 takes them away.  The arrays stay where they are meanwhile. */
void cbp_turn_mark(const cbp_turn *t, int by);
void cbp_turn_enter(cbp_turn *t);
void cbp_turn_leave(cbp_turn *t);
/* Without the GIL: until a turn has ended since round `seen`; a millisecond, or 50 where it is due. */
void cbp_turn_wait(unsigned seen, int due);
void cbp_turn_wake(void);
void cbp_turn_forget(void);            /* in a forked child: nobody waits */

#endif
