/* rows.c: the tables as text. */
#include "rows.h"

#define NONE ""
#define P1(n0, d0) #n0 "=" #d0
#define P2(n0, d0, n1, d1) #n0 "=" #d0 " " #n1 "=" #d1

#define CBP_UNARY(name, keeps, params, f, df, low, high, kinks) {#name, #keeps, params, #f, #df, low, high, #kinks, 1},
#define CBP_HELPER(name, keeps, params, f, df, low, high, kinks) {#name, #keeps, params, #f, #df, low, high, #kinks, 0},
const cbp_unary_info cbp_unary_rows[] = {
#include "unary.def"
};

enum { NO_TIES, TIES };
#define CBP_BINARY(name, f, ka, da, kb, db, alo, ahi, blo, bhi, ties) \
    {#name, #f, #ka, #da, #kb, #db, alo, ahi, blo, bhi, ties, 0, 0},
#define CBP_STRONG(name, f, ka, da, kb, db, alo, ahi, blo, bhi, ties) \
    {#name, #f, #ka, #da, #kb, #db, alo, ahi, blo, bhi, ties, 1, 0},
#define CBP_COMPARE(name, f) {#name, #f, "N", "0", "N", "0", -4, 4, -4, 4, TIES, 0, 1},
const cbp_binary_info cbp_binary_rows[] = {
#include "binary.def"
};

#define TEXT(...) #__VA_ARGS__
#define NAMES(...) __VA_ARGS__
#define CBP_OPTIM(name, moments, always, names, options, hyper, ...) \
    {#name, TEXT options, TEXT hyper, names, moments, always, sizeof(struct { double NAMES options; }) / sizeof(double)},
const cbp_optim_info cbp_optim_rows[] = {
#include "optim.def"
};

#define COUNT(rows) (int)(sizeof(rows) / sizeof(rows)[0])
const int cbp_n_unary = COUNT(cbp_unary_rows), cbp_n_binary = COUNT(cbp_binary_rows);
const int cbp_n_optim = COUNT(cbp_optim_rows);
