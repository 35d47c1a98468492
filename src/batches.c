/* batches.c: see batches.h. */
#include "batches.h"

#include <string.h>

static void gather(const cbp_batches *b, const int64_t *order)
{
    for (int g = 0; g < b->n_gathers; g++) {
        const cbp_gather *x = &b->gathers[g];
        for (ptrdiff_t i = 0; i < b->batch; i++)
            memcpy(x->room + (size_t)i * x->bytes, x->rows + (size_t)order[i] * x->bytes, x->bytes);
        x->slot->data = x->room;
    }
}

/* Instructions that write no state yet, the last chance to stop after each of them. */
static cbp_status run_first(cbp_batches *b, int32_t split)
{
    if (b->poll(b->ctx)) return CBP_STOPPED;
    for (int32_t i = 0; i < split && !b->patient; i++) {
        const cbp_status status = cbp_frame_run(b->frame, i, i + 1);
        if (status != CBP_OK) return status;
        if (b->poll(b->ctx)) return CBP_STOPPED;
    }
    return b->patient ? cbp_frame_run(b->frame, 0, split) : CBP_OK;
}

cbp_status cbp_batches_run(cbp_batches *b, int64_t begin, int64_t end)
{
    const cbp_program *p = b->frame->program;
    const int32_t split = p->split < p->forward ? p->split : p->forward;
    for (int64_t k = begin; k < end; k++) {
        gather(b, b->order + k * b->batch);
        cbp_status status = run_first(b, split);
        if (status == CBP_OK) status = cbp_frame_run(b->frame, split, p->forward);
        if (status != CBP_OK) return status;
        b->sum += (b->loss->dtype == CBP_F32 ? (double)*(const float *)b->loss->data : *(const double *)b->loss->data)
                  * (double)b->batch;
        b->done++;
    }
    return CBP_OK;
}
