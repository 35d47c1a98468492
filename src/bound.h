/* bound.h: what is behind the handles of module.h; for module.c and its tests. */
#ifndef CBP_BOUND_H
#define CBP_BOUND_H

#include "module.h"
#include "saved.h"

struct cbp_bound {
    cbp_module *module;
    cbp_bound *next;                   /* of the module's */
    const cbp_saved_program *entry;
    cbp_program *p;
    cbp_frame *frame;
    cbp_array **results;               /* memory of its own for each */
};

struct cbp_module {
    cbp_saved saved;
    cbp_bound *bound;
};

/* checked: whether the checksum must be right; tests look at what the other checks find. */
cbp_status cbp_module_load_as(const void *file, size_t bytes, int checked, cbp_module **m, char *message);

#endif
