/* check.h: whether a program that comes from a file is one that a recorder could have written.
 *
 * What passes can be built and run on any data: it reads and writes its own memory alone.  Compiled once.
 */
#ifndef CBP_CHECK_H
#define CBP_CHECK_H

#include "program.h"

enum { CBP_MESSAGE = 200 };            /* bytes of the text that says what is wrong, its end included */

/* Writes what is wrong to message (CBP_MESSAGE bytes, or NULL) and returns the status, so that it can be returned. */
cbp_status cbp_say(char *message, cbp_status status, const char *format, ...);

/* A program as it was recorded, before it is built; of constants that have no array the data are not looked at.
 * CBP_OK, CBP_NOMEM, or CBP_BAD_FILE.  *bytes: of all its values. */
cbp_status cbp_program_check(const cbp_program *p, size_t *bytes, char *message);
/* Whether a file may hold operations of a kind. */
int cbp_savable(int kind);
/* The same program once it is built: every instruction reads what was made before it, inside the slab. */
cbp_status cbp_program_check_plan(const cbp_program *p, char *message);

#endif
