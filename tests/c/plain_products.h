/* plain_products.h: products for one dtype, T; plain.h includes it.  Letters as in cbp.h. */

static void OF(gemm)(const cbp_kernels *k, cbp_layout layout, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K, int add, int pad)
{
    const int tn = layout == CBP_TN;
    const ptrdiff_t lda = (tn ? M : K) + pad, ldb = (layout == CBP_NT ? K : N) + pad, ldc = N + pad;
    const ptrdiff_t rows_a = tn ? K : M, rows_b = layout == CBP_NT ? N : K;
    T *a = OF(random)(rows_a * lda), *b = OF(random)(rows_b * ldb), *bias = OF(random)(N);
    T *c = OF(random)(M * ldc), *c_ref = OF(copy)(M * ldc, c), *c_old = OF(copy)(M * ldc, c);
    T *sums = OF(random)(N), *sums_ref = OF(copy)(N, sums);
    char *room = get(k->gemm_scratch(layout, M, N, K) + 64);
    void *scratch = room + (64 - (uintptr_t)room % 64);
    k->gemm(layout, M, N, K, a, lda, b, ldb, add ? NULL : bias, c, ldc, add, tn ? sums : NULL, scratch);
    k->gemm_ref(layout, M, N, K, a, lda, b, ldb, add ? NULL : bias, c_ref, ldc, add, tn ? sums_ref : NULL, NULL);
    CHECK(OF(equal)(M * ldc, c, c_ref), "product, layout %d, %tdx%tdx%td, add %d", layout, M, N, K, add);
    CHECK(OF(equal)(N, sums, sums_ref), "colsum, %tdx%tdx%td, add %d", M, N, K, add);
    for (ptrdiff_t m = 0; m < M && M * N * K < 50000; m++)         /* the reference itself, in double */
        for (ptrdiff_t n = 0; n < N; n++) {
            double sum = add ? (double)c_old[m * ldc + n] : tn ? 0 : (double)bias[n], size = fabs(sum);
            for (ptrdiff_t i = 0; i < K; i++) {
                const double product = (double)a[tn ? i * lda + m : m * lda + i]
                    * (double)b[layout == CBP_NT ? n * ldb + i : i * ldb + n];
                sum += product, size += fabs(product);
            }
            CHECK(fabs((double)c_ref[m * ldc + n] - sum) <= (double)(K + 2) * EPS * size,
                  "reference, layout %d, %tdx%tdx%td", layout, M, N, K);
        }
    free(a), free(b), free(bias), free(c), free(c_ref), free(c_old), free(sums), free(sums_ref), free(room);
}

static void OF(dense)(const cbp_kernels *k, ptrdiff_t B, ptrdiff_t I, ptrdiff_t O, int act, int add)
{
    static const double p[2] = {0.25, 0.75};
    T *x = OF(random)(B * I), *w = OF(random)(I * O), *bias = OF(random)(O), *g = OF(random)(B * O);
    T *z = OF(random)(B * O), *y = OF(random)(B * O), *z_ref = OF(random)(B * O), *y_ref = OF(random)(B * O);
    T *gz = OF(random)(B * O), *gz_ref = OF(copy)(B * O, g), *dx = OF(random)(B * I), *dx_ref = OF(copy)(B * I, dx);
    T *dw = OF(random)(I * O), *dw_ref = OF(copy)(I * O, dw), *db = OF(random)(O), *db_ref = OF(copy)(O, db);
    char *room = get(k->dense_scratch(B, I, O) + 64);
    void *scratch = room + (64 - (uintptr_t)room % 64);
    const char keeps = act < 0 ? 'N' : *cbp_unary_rows[act].keeps;
    k->dense_fwd(B, I, O, x, w, bias, act, p, z, y, scratch);
    k->gemm_ref(CBP_NN, B, O, I, x, I, w, O, bias, z_ref, O, 0, NULL, NULL);
    memcpy(y_ref, z_ref, (size_t)(B * O) * sizeof(T));
    if (act >= 0) k->unary(act, B * O, z_ref, y_ref, p);
    CHECK(OF(equal)(B * O, z, z_ref) && OF(equal)(B * O, y, y_ref), "dense %tdx%tdx%td, row %d", B, I, O, act);
    const T *kept = keeps == 'X' ? z : keeps == 'Y' ? y : NULL;
    k->dense_bwd(B, I, O, x, w, kept, g, act, p, gz, dx, dw, db, add, add ? act : -1, p, x, scratch);
    if (act >= 0) k->unary_vjp(act, B * O, kept, g, gz_ref, p, 0);
    k->gemm_ref(CBP_TN, I, O, B, x, I, gz_ref, O, NULL, dw_ref, O, add, db_ref, NULL);
    k->gemm_ref(CBP_NT, B, I, O, gz_ref, O, w, O, NULL, dx_ref, I, 0, NULL, NULL);
    if (add && act >= 0) k->unary_vjp(act, B * I, x, dx_ref, dx_ref, p, 0);        /* as if x came from the same activation */
    CHECK(OF(equal)(B * I, dx, dx_ref), "dx of dense %tdx%tdx%td, row %d", B, I, O, act);
    CHECK(OF(equal)(I * O, dw, dw_ref) && OF(equal)(O, db, db_ref), "dw of dense %tdx%tdx%td, row %d", B, I, O, act);
    free(x), free(w), free(bias), free(g), free(z), free(y), free(z_ref), free(y_ref), free(gz), free(gz_ref), free(dx);
    free(dx_ref), free(dw), free(dw_ref), free(db), free(db_ref), free(room);
}
