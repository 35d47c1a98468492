/* turns.c: marks, and the queue of those that wait.  See turns.h. */
#if !defined(_WIN32) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE                    /* clock_gettime */
#endif
#include "turns.h"

#ifdef _WIN32
#include <windows.h>
#else
#include <pthread.h>
#include <time.h>
#endif

cbp_turn *cbp_turns;
unsigned cbp_turn_round;

/* Whether others have one of the arrays. */
static int taken(const cbp_turn *t)
{
    for (int32_t i = 0; i < t->n; i++) {
        const cbp_array *a = cbp_array_root(t->arrays[i]);
        if (a && (a->busy < 0 || (a->busy && i < t->n_written))) return 1;
    }
    return 0;
}

int cbp_turn_quick(cbp_array *const *arrays, int32_t n, int32_t n_written)
{
    for (int32_t i = 0; i < n; i++)
        if (arrays[i]->busy < 0 || (i < n_written && arrays[i]->busy)) return 0;
    for (int32_t i = 0; i < n; i++) arrays[i]->pins++, arrays[i]->busy += i < n_written ? -1 : 1;
    return 1;
}

void cbp_turn_quick_end(cbp_array *const *arrays, int32_t n, int32_t n_written)
{
    for (int32_t i = 0; i < n; i++) arrays[i]->pins--, arrays[i]->busy -= i < n_written ? -1 : 1;
    cbp_turn_wake();
}

static void want(const cbp_turn *t, int yes)
{
    for (int32_t i = t->n - 1; i >= 0; i--) {          /* backwards: one that is read and written is written */
        cbp_array *a = cbp_array_root(t->arrays[i]);
        if (a) a->wanted = (uint8_t)(!yes ? 0 : i < t->n_written ? 2 : 1);
    }
}

/* Whether one of the two writes what the other reads or writes. */
static int conflict(const cbp_turn *t, const cbp_turn *with)
{
    int found = 0;
    want(with, 1);
    for (int32_t i = 0; i < t->n && !found; i++) {
        const cbp_array *a = cbp_array_root(t->arrays[i]);
        found = a && a->wanted > (i >= t->n_written);
    }
    want(with, 0);
    return found;
}

int cbp_turn_fits(const cbp_turn *t)
{
    if (taken(t)) return 0;
    for (const cbp_turn *w = cbp_turns; w && w != t; w = w->next)
        if (w->due && conflict(t, w)) return 0;
    return 1;
}

void cbp_turn_mark(const cbp_turn *t, int by)
{
    for (int32_t i = 0; i < t->n; i++) {
        cbp_array *a = cbp_array_root(t->arrays[i]);
        if (!a) continue;
        a->pins += by;
        a->busy += i < t->n_written ? -by : by;
    }
    if (by < 0) cbp_turn_wake();
}

void cbp_turn_enter(cbp_turn *t)
{
    cbp_turn **at = &cbp_turns;
    while (*at) at = &(*at)->next;
    t->due = 0, t->next = NULL, *at = t;
}

void cbp_turn_leave(cbp_turn *t)
{
    cbp_turn **at = &cbp_turns;
    while (*at && *at != t) at = &(*at)->next;
    if (*at) *at = t->next;
}

/* ---- sleeping ---- */

#ifdef _WIN32

void cbp_turn_wait(unsigned seen, int due) { (void)seen, (void)due, Sleep(1); }
void cbp_turn_wake(void) { cbp_turn_round++; }
void cbp_turn_forget(void) { cbp_turns = NULL; }

#else

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended = PTHREAD_COND_INITIALIZER;

void cbp_turn_wait(unsigned seen, int due)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += due ? 50000000 : 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, until.tv_sec++;
    pthread_mutex_lock(&lock);
    if (cbp_turn_round == seen) pthread_cond_timedwait(&ended, &lock, &until);
    pthread_mutex_unlock(&lock);
}

void cbp_turn_wake(void)
{
    if (!cbp_turns) return;
    pthread_mutex_lock(&lock);
    cbp_turn_round++;
    pthread_cond_broadcast(&ended);
    pthread_mutex_unlock(&lock);
}

void cbp_turn_forget(void)
{
    cbp_turns = NULL;
    pthread_mutex_init(&lock, NULL);
    pthread_cond_init(&ended, NULL);
}

#endif
