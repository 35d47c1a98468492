# The C side as Cython sees it.  Shapes and formulas are documented once, in the headers.
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint64_t

cdef extern from "cbp.h" nogil:
    ctypedef enum cbp_dtype:
        CBP_F32, CBP_F64, CBP_I64, CBP_BOOL
    ctypedef enum cbp_status:
        CBP_OK, CBP_NOMEM, CBP_OUT_OF_RANGE, CBP_GUARD, CBP_STOPPED, CBP_BAD_FILE
    ctypedef enum cbp_layout:
        CBP_NN, CBP_NT, CBP_TN
    enum:
        CBP_MAX_DIMS, CBP_ONE_GROUP_ABOVE
    ctypedef struct cbp_kernels:
        const char *target
        int bits
        int fma
        void (*unary)(int row, Py_ssize_t n, const void *x, void *y, const double *p) noexcept nogil
        void (*unary_vjp)(int row, Py_ssize_t n, const void *kept, const void *g, void *dx, const double *p,
                          int add) noexcept nogil
        void (*binary)(int row, Py_ssize_t n, const void *a, Py_ssize_t sa, const void *b, Py_ssize_t sb,
                       void *y) noexcept nogil
        void (*binary_vjp)(int row, int side, Py_ssize_t n, const void *a, Py_ssize_t sa, const void *b, Py_ssize_t sb,
                           const void *y, const void *g, void *dx, int add) noexcept nogil
        void (*optim)(int row, Py_ssize_t n, void *w, const void *g, void *m1, void *m2, void *m3,
                      const double *h) noexcept nogil
        void (*where)(Py_ssize_t n, const uint8_t *c, Py_ssize_t sc, const void *a, Py_ssize_t sa,
                      const void *b, Py_ssize_t sb, void *y) noexcept nogil
        void (*sum_last)(Py_ssize_t B, Py_ssize_t K, const void *x, void *y) noexcept nogil
        void (*sum_lead)(Py_ssize_t B, Py_ssize_t K, Py_ssize_t N, const void *x, void *y) noexcept nogil
        void (*max_last)(Py_ssize_t B, Py_ssize_t K, const void *x, void *y) noexcept nogil
        void (*max_lead)(Py_ssize_t B, Py_ssize_t K, Py_ssize_t N, const void *x, void *y) noexcept nogil
        void (*argmax_last)(Py_ssize_t B, Py_ssize_t K, const void *x, int64_t *y) noexcept nogil
        void (*softmax)(Py_ssize_t B, Py_ssize_t C, const void *x, void *y) noexcept nogil
        void (*log_softmax)(Py_ssize_t B, Py_ssize_t C, const void *x, void *y) noexcept nogil
        void (*logsumexp)(Py_ssize_t B, Py_ssize_t C, const void *x, void *y) noexcept nogil
        cbp_status (*ce_fwd)(Py_ssize_t B, Py_ssize_t C, const void *x, const int64_t *t, int64_t ignore, void *loss,
                             void *p, const void *g, Py_ssize_t sg, void *dx) noexcept nogil
        void (*ce_vjp)(Py_ssize_t B, Py_ssize_t C, const void *p, const int64_t *t, int64_t ignore, const void *g,
                       void *dx) noexcept nogil
        void (*gemm)(cbp_layout layout, Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const void *a, Py_ssize_t lda,
                     const void *b, Py_ssize_t ldb, const void *bias, void *c, Py_ssize_t ldc, int add,
                     void *colsum, void *scratch) noexcept nogil
        void (*gemm_ref)(cbp_layout layout, Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const void *a, Py_ssize_t lda,
                         const void *b, Py_ssize_t ldb, const void *bias, void *c, Py_ssize_t ldc, int add,
                         void *colsum, void *scratch) noexcept nogil
        size_t (*gemm_scratch)(cbp_layout layout, Py_ssize_t M, Py_ssize_t N, Py_ssize_t K) noexcept nogil
        void (*gemm_batch)(cbp_layout layout, Py_ssize_t batch, Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, const void *a,
                           Py_ssize_t lda, Py_ssize_t a_step, const void *b, Py_ssize_t ldb, Py_ssize_t b_step,
                           void *c, Py_ssize_t ldc, Py_ssize_t c_step, void *scratch) noexcept nogil
        void (*dense_fwd)(Py_ssize_t B, Py_ssize_t I, Py_ssize_t O, const void *x, const void *w, const void *bias,
                          int act, const double *p, void *z, void *y, void *scratch) noexcept nogil
        void (*dense_bwd)(Py_ssize_t B, Py_ssize_t I, Py_ssize_t O, const void *x, const void *w, const void *kept,
                          const void *g, int act, const double *p, void *gz, void *dx, void *dw, void *db, int add,
                          int prev, const double *prev_p, const void *prev_kept, void *scratch) noexcept nogil
        size_t (*dense_scratch)(Py_ssize_t B, Py_ssize_t I, Py_ssize_t O) noexcept nogil

cdef extern from "dispatch.h" nogil:
    const cbp_kernels *cbp_active[2]
    const char *cbp_target_name(int i) noexcept
    int cbp_target_runs(int i) noexcept
    cbp_status cbp_select(const char *name) noexcept
    const cbp_kernels *cbp_table(const char *name, cbp_dtype dtype) noexcept

cdef extern from "selftest.h" nogil:
    enum:
        CBP_SELFTEST_SECTIONS
    const char *cbp_selftest_names[]
    ctypedef struct cbp_selftest_report:
        uint64_t total
        uint64_t section[2 * CBP_SELFTEST_SECTIONS]
        uint64_t results[2 * CBP_SELFTEST_SECTIONS]
        int shared_by
        int fma
    cbp_status cbp_selftest(const char *target, int threads, int64_t flip_at, int flip_bit,
                            cbp_selftest_report *report) noexcept

cdef extern from "rows.h" nogil:
    ctypedef struct cbp_unary_info:
        const char *name
        const char *keeps
        const char *params
        const char *f
        const char *df
        double low
        double high
        const char *kinks
        int is_public
    ctypedef struct cbp_binary_info:
        const char *name
        const char *f
        const char *keeps_a
        const char *da
        const char *keeps_b
        const char *db
        double a_low
        double a_high
        double b_low
        double b_high
        int ties
        int strong
        int compares
    ctypedef struct cbp_optim_info:
        const char *name
        const char *options
        const char *hyper
        const char *moment_names
        int moments
        int always
        int n_options
    const cbp_unary_info cbp_unary_rows[]
    const cbp_binary_info cbp_binary_rows[]
    const cbp_optim_info cbp_optim_rows[]
    const int cbp_n_unary
    const int cbp_n_binary
    const int cbp_n_optim

cdef extern from "store.h" nogil:
    ctypedef struct cbp_array:
        int64_t refs
        int64_t version
        void *data
        cbp_array *base
        Py_ssize_t size
        int32_t pins, busy
        uint8_t dtype
        uint8_t ndim
        uint8_t is_view
        uint8_t mutable
        uint8_t recorded
        uint8_t weak
        Py_ssize_t shape[8]
    cbp_array *cbp_array_new(cbp_dtype dtype, int ndim, const Py_ssize_t *shape) noexcept
    cbp_array *cbp_array_view(cbp_array *base, int ndim, const Py_ssize_t *shape) noexcept
    cbp_array *cbp_array_hold(cbp_array *a) noexcept
    void cbp_array_drop(cbp_array *a) noexcept
    int64_t cbp_array_version(const cbp_array *a) noexcept
    int cbp_array_adopt(cbp_array *a, cbp_array *store, Py_ssize_t offset) noexcept
    cbp_array *cbp_array_root(cbp_array *a) noexcept
    size_t cbp_itemsize(cbp_dtype dtype) noexcept
    size_t cbp_bytes_in_use() noexcept

cdef extern from "turns.h":
    ctypedef struct cbp_turn:
        cbp_array **arrays
        int32_t n, n_written, due
    cbp_turn *cbp_turns
    bint cbp_turn_quick(cbp_array **arrays, int32_t n, int32_t n_written) noexcept
    void cbp_turn_quick_end(cbp_array **arrays, int32_t n, int32_t n_written) noexcept
    bint cbp_turn_fits(const cbp_turn *t) noexcept
    void cbp_turn_mark(const cbp_turn *t, int by) noexcept
    void cbp_turn_enter(cbp_turn *t) noexcept
    void cbp_turn_leave(cbp_turn *t) noexcept
    unsigned cbp_turn_round
    void cbp_turn_wake() noexcept
    void cbp_turn_wait(unsigned seen, int due) noexcept nogil
    void cbp_turn_forget() noexcept

cdef extern from "walk.h" nogil:
    ctypedef void (*cbp_run_loop)(int row, Py_ssize_t n, const void *a, Py_ssize_t sa, const void *b, Py_ssize_t sb,
                                  void *y) noexcept nogil
    void cbp_walk_all(cbp_run_loop loop, int row, const cbp_array *a, const cbp_array *b, cbp_array *y) noexcept
    void cbp_walk_binary_vjp(int row, int side, const cbp_array *a, const cbp_array *b, const cbp_array *y,
                             const cbp_array *g, cbp_array *d, int add) noexcept
    int cbp_broadcast_shape(const cbp_array *a, const cbp_array *b, Py_ssize_t *shape, int *bad) noexcept
    bint same_shape "cbp_same_shape"(const cbp_array *a, const cbp_array *b) noexcept

cdef extern from "chain.h" nogil:
    ctypedef enum cbp_link_kind:
        CBP_LINK_UNARY, CBP_LINK_UNARY_VJP, CBP_LINK_BINARY, CBP_LINK_SIDE_A, CBP_LINK_SIDE_B
    ctypedef struct cbp_link:
        int16_t kind, row
    ctypedef struct cbp_chain:
        int32_t n_links
        cbp_link *links

cdef extern from "tile.h" nogil:
    ctypedef struct cbp_tile

cdef extern from "op.h" nogil:
    ctypedef enum cbp_op_kind:
        CBP_OP_unary, CBP_OP_unary_vjp, CBP_OP_binary, CBP_OP_binary_vjp, CBP_OP_copy, CBP_OP_reshape, CBP_OP_fill,
        CBP_OP_count, CBP_OP_where, CBP_OP_compare_i64, CBP_OP_integer, CBP_OP_logic,
        CBP_OP_logic_not, CBP_OP_cast, CBP_OP_reduce, CBP_OP_cumsum, CBP_OP_sum_to,
        CBP_OP_argmax, CBP_OP_transpose, CBP_OP_broadcast_to, CBP_OP_slice, CBP_OP_unslice, CBP_OP_concatenate,
        CBP_OP_check_index, CBP_OP_take, CBP_OP_put_add, CBP_OP_one_hot, CBP_OP_matmul, CBP_OP_dense,
        CBP_OP_dense_vjp, CBP_OP_softmax, CBP_OP_log_softmax, CBP_OP_logsumexp, CBP_OP_ce, CBP_OP_ce_vjp,
        CBP_OP_uniform, CBP_OP_normal, CBP_OP_mask, CBP_OP_below, CBP_OP_permutation, CBP_OP_advance,
        CBP_OP_optim, CBP_OP_chain, CBP_OP_guard, CBP_OP_tile, CBP_OP_scan, CBP_OP_while_loop, CBP_OP_cond, CBP_N_OPS
    ctypedef struct cbp_loop             # loop.h
    ctypedef struct cbp_op:
        int32_t kind, row, prev, flags, dtype
        double p[2]
        double q[2]
        int64_t a[25]
        cbp_chain *chain
        cbp_tile *tile
        cbp_loop *loop
    ctypedef struct cbp_op_info:
        const char *name
        cbp_status (*shape)(const cbp_op *op, cbp_array **inputs, int n_in, cbp_array **outputs) noexcept nogil
        cbp_status (*run)(const cbp_op *op, cbp_array **inputs, int n_in, cbp_array **outputs,
                          void *scratch) noexcept nogil
        size_t (*scratch)(const cbp_op *op, cbp_array **inputs, int n_in, cbp_array **outputs) noexcept nogil
        int n_out
    const cbp_op_info cbp_op_infos[]

cdef extern from "tile.h" nogil:
    ctypedef struct cbp_tile_reg:
        uint8_t kind, ndim
        Py_ssize_t shape[8]
    ctypedef enum cbp_tile_kind:
        CBP_REG_WHOLE, CBP_REG_ROWS, CBP_REG_SUM, CBP_REG_LOCAL
    ctypedef struct cbp_tile_step:
        cbp_op op
        int32_t line, n_in, n_out
        int32_t out
    ctypedef struct cbp_tile:
        int32_t n_steps, n_slots
        Py_ssize_t rows, unit, block
        cbp_tile_reg *regs
        cbp_tile_step *steps
        int32_t *args
    Py_ssize_t cbp_tile_units(const cbp_tile *t)

cdef extern from "program.h" nogil:
    ctypedef enum cbp_place:
        CBP_TEMP, CBP_INPUT, CBP_OUTPUT, CBP_CONST, CBP_STATE
    ctypedef struct cbp_value:
        uint8_t place, dtype, ndim
        int32_t of
        int32_t made, used
        cbp_array *held
        Py_ssize_t shape[8]
        Py_ssize_t size, offset
    ctypedef struct cbp_instr:
        cbp_op op
        int32_t ins "in"
        int32_t n_in, n_out, line, segment
        uint8_t writes
    ctypedef struct cbp_program:
        cbp_value *values
        cbp_instr *instrs
        int32_t *args
        int32_t n_values, n_instrs, n_args, split, forward
        size_t slab, scratch
    ctypedef struct cbp_frame:
        int32_t at
    cbp_program *cbp_program_new() noexcept
    void cbp_program_free(cbp_program *p) noexcept
    int32_t cbp_program_value(cbp_program *p, cbp_place place, const cbp_array *like, cbp_array *held,
                              int32_t of) noexcept
    int cbp_program_instr(cbp_program *p, const cbp_op *op, const int32_t *ins, int n_in, const int32_t *outs,
                          int n_out, int32_t line) noexcept
    cbp_program *cbp_program_clone(const cbp_program *p) noexcept
    cbp_program *cbp_program_twin(cbp_program *p) noexcept
    cbp_status cbp_program_build(cbp_program *p, int plain) noexcept
    int cbp_plant_fault, cbp_no_tiles
    cbp_frame *cbp_frame_new(const cbp_program *p, int private_state) noexcept
    void cbp_frame_free(cbp_frame *f) noexcept
    cbp_array *cbp_frame_array(cbp_frame *f, int32_t value) noexcept
    cbp_status cbp_frame_run(cbp_frame *f, int32_t begin, int32_t end) noexcept
    int32_t cbp_root(const cbp_program *p, int32_t v) noexcept
    int32_t *cbp_in(const cbp_program *p, const cbp_instr *i) noexcept
    int32_t *cbp_out(const cbp_program *p, const cbp_instr *i) noexcept

cdef extern from "plan.h" nogil:
    int cbp_optional(const cbp_op *op, int k) noexcept
    cbp_status cbp_drop_dead(cbp_program *p) noexcept

cdef extern from "loop.h" nogil:
    ctypedef struct cbp_loop:
        cbp_program *program[2]
        int32_t n_in, n_out, n_carry, n_x
        int32_t *ins "in"[2]
        int32_t *outs "out"[2]
        int (*poll)() noexcept nogil
    ctypedef struct cbp_loop_frame:
        char **now
        int64_t at
    cbp_loop *cbp_loop_new(cbp_program *a, cbp_program *b, int32_t n_in, int32_t n_out, int32_t n_carry,
                           int32_t n_x) noexcept
    cbp_loop *cbp_loop_hold(cbp_loop *l) noexcept
    void cbp_loop_drop(cbp_loop *l) noexcept
    cbp_status cbp_body_detach(cbp_program *p) noexcept
    cbp_loop_frame *cbp_loop_frame_new(const cbp_loop *l) noexcept
    void cbp_loop_frame_free(cbp_loop_frame *f) noexcept
    cbp_status cbp_loop_run(const cbp_op *op, cbp_array **inputs, cbp_array **outputs, cbp_loop_frame *f) noexcept
    cbp_status cbp_loop_shape(const cbp_op *op, cbp_array **outputs) noexcept

cdef extern from "batches.h" nogil:
    ctypedef struct cbp_gather:
        cbp_array *slot
        const char *rows
        size_t bytes
        char *room
    ctypedef struct cbp_batches:
        cbp_frame *frame
        cbp_gather *gathers
        int n_gathers
        const int64_t *order
        Py_ssize_t batch
        const cbp_array *loss
        int (*poll)(void *ctx) noexcept nogil
        void *ctx
        int patient
        double sum
        int64_t done
    cbp_status cbp_batches_run(cbp_batches *b, int64_t n) noexcept

cdef extern from "check.h" nogil:
    enum:
        CBP_MESSAGE
    int cbp_savable(int kind) noexcept

cdef extern from "saved.h" nogil:
    ctypedef struct cbp_saved_port:
        const char *name
        int32_t value
    ctypedef struct cbp_saved_program:
        const char *name
        int64_t batch
        int32_t n_inputs, n_results
        cbp_saved_port *inputs
        cbp_saved_port *results
    ctypedef struct cbp_saved_array:
        const char *name
        int state
        cbp_array *array
    ctypedef struct cbp_saved:
        size_t size
        int32_t n_arrays, n_programs
        cbp_saved_array *arrays
        cbp_saved_program *programs
    cbp_status cbp_saved_open(cbp_saved *s, const void *file, size_t size, int checked, char *message) noexcept
    void cbp_saved_close(cbp_saved *s) noexcept
    void cbp_saved_write(const cbp_saved *s, void *to) noexcept
    int cbp_saved_shape(const cbp_saved *s, const cbp_saved_port *port, cbp_dtype *dtype, int64_t *c,
                        int64_t *d) noexcept
    cbp_status cbp_saved_bind(const cbp_saved *s, const cbp_saved_program *e, int64_t batch, size_t most,
                              cbp_program **p, char *message) noexcept

cdef extern from "integer.h" nogil:
    ctypedef struct cbp_integer_info:
        const char *name
        const char *refused
        int refuses
        int bools
    enum:
        CBP_N_INTEGER
    const cbp_integer_info cbp_integer_rows[]
    Py_ssize_t cbp_integer_refused(int row, Py_ssize_t n, const int64_t *b) noexcept
    ctypedef enum cbp_compare_op:
        CBP_EQ, CBP_NE, CBP_LT, CBP_LE, CBP_GT, CBP_GE
    ctypedef enum cbp_logic_op:
        CBP_AND, CBP_OR, CBP_XOR
    enum:
        CBP_WIDEN, CBP_REFUSE

cdef extern from "move.h" nogil:
    void cbp_copy_strided(int n_dims, const Py_ssize_t *shape, const Py_ssize_t *strides, Py_ssize_t item,
                          const void *src, void *dst) noexcept
    void cbp_scatter_strided(int n_dims, const Py_ssize_t *shape, const Py_ssize_t *strides, Py_ssize_t item,
                             const void *src, void *dst) noexcept
    Py_ssize_t cbp_first_outside(Py_ssize_t n, const int64_t *index, int64_t size) noexcept
    void cbp_take(Py_ssize_t n, Py_ssize_t row_bytes, const void *x, const int64_t *index, void *y) noexcept
    void cbp_scatter_add_f32(Py_ssize_t n, Py_ssize_t N, const float *g, const int64_t *index, float *dx) noexcept
    void cbp_scatter_add_f64(Py_ssize_t n, Py_ssize_t N, const double *g, const int64_t *index, double *dx) noexcept
    void cbp_one_hot_f32(Py_ssize_t n, Py_ssize_t C, const int64_t *index, float *y) noexcept
    void cbp_one_hot_f64(Py_ssize_t n, Py_ssize_t C, const int64_t *index, double *y) noexcept

cdef extern from "rng.h" nogil:
    void cbp_rng_bits(uint64_t key, uint64_t offset, Py_ssize_t n, uint64_t *out) noexcept
    void cbp_rng_uniform_f32(uint64_t key, uint64_t offset, Py_ssize_t n, float *out) noexcept
    void cbp_rng_uniform_f64(uint64_t key, uint64_t offset, Py_ssize_t n, double *out) noexcept
    void cbp_rng_normal_f32(uint64_t key, uint64_t offset, Py_ssize_t n, float *out) noexcept
    void cbp_rng_normal_f64(uint64_t key, uint64_t offset, Py_ssize_t n, double *out) noexcept
    void cbp_rng_mask(uint64_t key, uint64_t offset, Py_ssize_t n, double p, uint8_t *keep) noexcept
    void cbp_rng_below(uint64_t key, uint64_t offset, Py_ssize_t n, int64_t bound, int64_t *out) noexcept
    void cbp_rng_permutation(uint64_t key, uint64_t offset, Py_ssize_t n, int64_t *out) noexcept

cdef extern from "pool.h" nogil:
    void cbp_set_num_threads(int n) noexcept
    int cbp_get_num_threads() noexcept
    void cbp_pool_alone(int yes) noexcept
    int cbp_pool_workers_used() noexcept
