/* vmath_coeffs.h: the constants and polynomials of vmath.h, once for float, once for double.
 *
 * Where the polynomials come from: minimax by Remez exchange at 200 bits (mpmath), weighted for the relative error
 * of the function they end up in; the coefficients rounded to T one by one from the lowest, the rest refitted each
 * time. The error in each comment is that relative error after rounding, in exact arithmetic.
 * Split constants (..._HI, ..._LO): HI has so few bits that the products with small integers are exact, with or
 * without FMA.
 *
 * CBP_Pn(x, c0, ..., cn) = c0 + c1 x + ... + cn x^n by Horner: one FMA a coefficient. */
#ifndef CBP_VMATH_COEFFS_H
#define CBP_VMATH_COEFFS_H

#define CBP_P1(x, a, b)    cbp_fma(x, b, a)
#define CBP_P2(x, a, ...)  cbp_fma(x, CBP_P1(x, __VA_ARGS__), a)
#define CBP_P3(x, a, ...)  cbp_fma(x, CBP_P2(x, __VA_ARGS__), a)
#define CBP_P4(x, a, ...)  cbp_fma(x, CBP_P3(x, __VA_ARGS__), a)
#define CBP_P5(x, a, ...)  cbp_fma(x, CBP_P4(x, __VA_ARGS__), a)
#define CBP_P6(x, a, ...)  cbp_fma(x, CBP_P5(x, __VA_ARGS__), a)
#define CBP_P7(x, a, ...)  cbp_fma(x, CBP_P6(x, __VA_ARGS__), a)
#define CBP_P8(x, a, ...)  cbp_fma(x, CBP_P7(x, __VA_ARGS__), a)
#define CBP_P9(x, a, ...)  cbp_fma(x, CBP_P8(x, __VA_ARGS__), a)
#define CBP_P10(x, a, ...) cbp_fma(x, CBP_P9(x, __VA_ARGS__), a)
#define CBP_P11(x, a, ...) cbp_fma(x, CBP_P10(x, __VA_ARGS__), a)
#define CBP_P12(x, a, ...) cbp_fma(x, CBP_P11(x, __VA_ARGS__), a)
#define CBP_P13(x, a, ...) cbp_fma(x, CBP_P12(x, __VA_ARGS__), a)
#define CBP_P14(x, a, ...) cbp_fma(x, CBP_P13(x, __VA_ARGS__), a)
#define CBP_P15(x, a, ...) cbp_fma(x, CBP_P14(x, __VA_ARGS__), a)
#define CBP_P16(x, a, ...) cbp_fma(x, CBP_P15(x, __VA_ARGS__), a)
#define CBP_P17(x, a, ...) cbp_fma(x, CBP_P16(x, __VA_ARGS__), a)
#define CBP_P18(x, a, ...) cbp_fma(x, CBP_P17(x, __VA_ARGS__), a)
#define CBP_P19(x, a, ...) cbp_fma(x, CBP_P18(x, __VA_ARGS__), a)
#define CBP_P20(x, a, ...) cbp_fma(x, CBP_P19(x, __VA_ARGS__), a)
#define CBP_P21(x, a, ...) cbp_fma(x, CBP_P20(x, __VA_ARGS__), a)
#define CBP_P22(x, a, ...) cbp_fma(x, CBP_P21(x, __VA_ARGS__), a)
#define CBP_P23(x, a, ...) cbp_fma(x, CBP_P22(x, __VA_ARGS__), a)

#if CBP_BITS == 32

#define CBP_MANT 23                        /* stored significand bits */
#define CBP_BIAS 127
#define CBP_TINY 0x1p-126f                 /* the smallest normal number */
#define CBP_SHIFT 0x1.8p23f                /* x + CBP_SHIFT rounds x to an integer, which sits in the low bits */
#define CBP_LOG2E 0x1.715476p+0f
#define CBP_LN2_HI 0x1.62ep-1f             /* 14 bits */
#define CBP_LN2_LO 0x1.0bfbe8p-15f

/* beyond these the results are 0, 1 or inf whatever the exact x */
#define CBP_EXP_MIN -104.0f
#define CBP_EXPM1_MIN -20.0f
#define CBP_DECAY_MAX 112.0f               /* x exp(-x) rounds to 0 */
#define CBP_TANH_MAX 10.0f
#define CBP_GAUSS_MAX 15.0f                /* x exp(-x^2/2) rounds to 0 */
#define CBP_ERF_MAX 4.0f
#define CBP_GELU_TANH_MAX 11.0f
#define CBP_MISH_MAX 20.0f                 /* mish' = 1 */

/* expm1(r) = r + r^2 P(r), |r| <= 0.3476: 2^-31.0 */
#define CBP_POLY_EXPM1(r) CBP_P5(r, 0x1p-1f, 0x1.555554p-3f, 0x1.5554eap-5f, 0x1.1113a2p-7f, 0x1.6d4bep-10f, \
    0x1.9c8daap-13f)
/* log1p(f) = f - f^2/2 + f^3 P(f), sqrt(1/2) <= 1 + f <= sqrt 2: 2^-27.3 */
#define CBP_POLY_LOG(f) CBP_P7(f, 0x1.555554p-2f, -0x1.00022cp-2f, 0x1.99a04p-3f, -0x1.547102p-3f, 0x1.22d42p-3f, \
    -0x1.0d8bccp-3f, 0x1.058914p-3f, -0x1.3903ep-4f)
/* log1p(e) = e + e^2 P(e), 0 <= e <= 1: 2^-29.8 */
#define CBP_POLY_LOG1P01(e) cbp_math_fma(e, CBP_P8(e, 0x1.55543p-2f, -0x1.ffd08cp-3f, 0x1.97cbe2p-3f, \
    -0x1.4b513p-3f, 0x1.016d66p-3f, -0x1.59daf0p-4f, 0x1.60f446p-5f, -0x1.ceff96p-7f, 0x1.1c4aeep-9f), -0x1.fffffcp-2f)
/* erf(x) = x + x P(x^2), |x| <= 1: 2^-29.4 */
#define CBP_ERF_SMALL 0.84f
#define CBP_POLY_ERF(z) CBP_P6(z, 0x1.06eba8p-3f, -0x1.81273ep-2f, 0x1.ce2ce6p-4f, -0x1.b7f71ap-6f, 0x1.53f224p-8f, \
    -0x1.a3515ep-11f, 0x1.4771fcp-14f)
/* erfc(a) = exp(-a^2) P(a - 2.25), 0.84 <= a <= 4: absolute error 2^-27.0 */
#define CBP_ERFC_MID 2.25f
#define CBP_POLY_ERFC(u) CBP_P8(u, 0x1.d9449ap-3f, -0x1.6a6558p-4f, 0x1.0645880p-5f, -0x1.6aa474p-7f, 0x1.baa7b4p-9f, \
    -0x1.59b124p-10f, 0x1.0b2676p-11f, 0x1.80244p-13f, 0x1.445f8cp-13f)
/* Phi(-t) = exp(-t^2/2) (1 + P(u)) / d, d = A t + B, u = t / d - 0.26953125, 0.58 <= t <= 14.5: 2^-28.3
 * (The middle was searched for a value there that T holds almost exactly; A so that |P| is small where it matters.) */
#define CBP_GELU_A 2.0f
#define CBP_GELU_B 5.0f
#define CBP_GELU_MID 0.26953125f
#define CBP_POLY_GELU(u) cbp_math_fma(u, CBP_P8(u, -0x1.a6d782p+1f, 0x1.1180ap+2f, 0x1.08f53ap-1f, -0x1.12e5p+3f, \
    -0x1.67babcp-1f, 0x1.7800f8p+4f, 0x1.ed257ap+3f, -0x1.dec516p+5f, -0x1.76d712p+6f), 0x1.637fecp-2f)
/* gelu'(-t) = exp(-t^2/2) (T0 - t) (1 + P(u)) / 2, u = t / (t + 4) - 0.375, 0 <= t <= 15, T0 the zero of gelu':
 * 2^-30.1 */
#define CBP_GELU_SLOPE_C 4.0f
#define CBP_GELU_SLOPE_MID 0.375f
#define CBP_GELU_T0 0x1.80ead2p-1f
#define CBP_GELU_T0_LO -0x1.a03fd4p-27f
#define CBP_POLY_GELU_SLOPE(u) CBP_P9(u, -0x1.f804dep-7f, -0x1.1dad54p-1f, 0x1.5d9e94p-1f, -0x1.3c7892p-1f, \
    0x1.7888c2p-2f, -0x1.5678e4p-4f, -0x1.fa5d1ep-5f, 0x1.6f9686p-5f, 0x1.821762p-7f, -0x1.0ac7d4p-6f)

#define CBP_PDF_HI 0x1.988454p-2f          /* 1 / sqrt(2 pi) */
#define CBP_PDF_LO -0x1.857936p-27f
#define CBP_GT_A 0x1.988454p+0f            /* gelu_tanh: y = A t + B t^3, A = 2 sqrt(2 / pi), B = 0.044715 A */
#define CBP_GT_A_LO -0x1.857936p-25f
#define CBP_GT_B 0x1.2444f2p-4f
#define CBP_GT_B_LO 0x1.49b16ap-29f

/* The zeros of the slopes, see vmath_act.h, each with what rounding it, and the exponential there, leaves over. */
#define CBP_SILU_T0 0x1.474974p+0f         /* silu'(-T0) = 0;  E0 = T0 - 1 = exp(-T0 - OFF) */
#define CBP_SILU_OFF -0x1.ffde9cp-25f
#define CBP_MISH_X0 -0x1.31432cp+0f        /* mish'(X0) = 0;  W0 = exp(X0 + X0_LO), ETA = h(log W0) / 4 */
#define CBP_MISH_X0_LO -0x1.a35ecep-27f
#define CBP_MISH_W0 0x1.36c42p-2f
#define CBP_MISH_ETA -0x1.f846eap-27f
#define CBP_MISH_C0 0x1.31ac34p-2f
#define CBP_MISH_C1 0x1.cf1d54p-4f
#define CBP_MISH_C2 0x1.c9f4p-8f
/* gelu_tanh'(-T0) = 0;  E0 = exp(-Y0 - Y0_LO), ETA = 1 + E0 - A T0 - 3 B T0^3 */
#define CBP_GT_T0 0x1.8142ap-1f
#define CBP_GT_E0 0x1.2af64ep-2f
#define CBP_GT_Y0 0x1.3b2cf8p+0f
#define CBP_GT_Y0_LO -0x1.04cc04p-26f
#define CBP_GT_ETA -0x1.0cff7p-25f

/* sin r = r + r^3 S(r^2): 2^-27.9;  cos r = 1 - r^2/2 + r^4 C(r^2): 2^-33.0;  |r| <= 0.786 */
#define CBP_POLY_SIN(z) CBP_P2(z, -0x1.555546p-3f, 0x1.110776p-7f, -0x1.9952f8p-13f)
#define CBP_POLY_COS(z) CBP_P2(z, 0x1.55554ap-5f, -0x1.6c0c28p-10f, 0x1.99e80cp-16f)

#else

#define CBP_MANT 52
#define CBP_BIAS 1023
#define CBP_TINY 0x1p-1022
#define CBP_SHIFT 0x1.8p52
#define CBP_LOG2E 0x1.71547652b82fep+0
#define CBP_LN2_HI 0x1.62e42fefa2p-1       /* 40 bits */
#define CBP_LN2_LO 0x1.9ef35793c7673p-41

#define CBP_EXP_MIN -746.0
#define CBP_EXPM1_MIN -40.0
#define CBP_DECAY_MAX 754.0
#define CBP_TANH_MAX 22.0
#define CBP_GAUSS_MAX 39.0
#define CBP_ERF_MAX 6.0
#define CBP_GELU_TANH_MAX 22.0
#define CBP_MISH_MAX 40.0

/* as above: 2^-59.4 */
#define CBP_POLY_EXPM1(r) CBP_P10(r, 0x1p-1, 0x1.5555555555559p-3, 0x1.555555555554ep-5, 0x1.111111110f5c5p-7, \
    0x1.6c16c16c15118p-10, 0x1.a01a01b08339bp-13, 0x1.a01a01e7fef58p-16, 0x1.71ddf5ffde62bp-19, \
    0x1.27e3bb88a093bp-22, 0x1.af6426f59aaacp-26, 0x1.220e3c1dfe3a2p-29)
/* log1p(f) = 2 s + s z P(z), s = f / (2 + f), z = s^2: 2^-58.3.  (A polynomial in f needs three times the terms.) */
#define CBP_POLY_LOG(z) CBP_P6(z, 0x1.555555555557cp-1, 0x1.99999999855b9p-2, 0x1.2492493e04b3dp-2, \
    0x1.c71c54bb777dbp-3, 0x1.7465c396837d7p-3, 0x1.39acc6a0fdcf7p-3, 0x1.2ea109123ebf8p-3)
/* 2^-56.0 */
#define CBP_ERF_SMALL 0.99
#define CBP_POLY_ERF(z) CBP_P11(z, 0x1.06eba8214db68p-3, -0x1.812746b03799dp-2, 0x1.ce2f21a03f8bfp-4, \
    -0x1.b82ce311a9af5p-6, 0x1.565bcceee422bp-8, -0x1.c02daeb90b5d6p-11, 0x1.f9a296f23e37bp-14, \
    -0x1.f4c833835642bp-17, 0x1.b96b8ba8f26c5p-20, -0x1.5b8ddb4a6de6ep-23, 0x1.d3e8cd0243865p-27, \
    -0x1.a262d3d8cae76p-31)
/* erfc(a) = exp(-a^2) P(a - 3.25), 0.99 <= a <= 6: absolute error 2^-55.3 */
#define CBP_ERFC_MID 3.25
#define CBP_POLY_ERFC(u) CBP_P20(u, 0x1.54a7a08d4d9d9p-3, -0x1.82a8522be8da5p-5, 0x1.a7eddc8ad863dp-7, \
    -0x1.c24b4a69c56aap-9, 0x1.d0858e07c9d4ap-11, -0x1.d25e1bf9e7fc4p-13, 0x1.c8854686c636ap-15, \
    -0x1.b46dbfd7fcacep-17, 0x1.972ac48d75de3p-19, -0x1.76e5c4a7328d3p-21, 0x1.55757cd012914p-23, \
    -0x1.e8ca9ae00fe12p-26, 0x1.5a5bfdf5c5862p-27, -0x1.7d708b881e297p-29, -0x1.becc04fdd48afp-30, \
    -0x1.dfcea93d57d05p-31, 0x1.c73e09ab3f662p-35, 0x1.6d7f641b41a74p-33, 0x1.3fd61f1724761p-34, \
    0x1.f3362ffcf0f55p-37, 0x1.565249a101d35p-40)
/* u = t / d - 0.3720703125, 0.58 <= t <= 38.6: 2^-58.2 */
#define CBP_GELU_A 1.5
#define CBP_GELU_B 5.25
#define CBP_GELU_MID 0.3720703125
#define CBP_POLY_GELU(u) CBP_P22(u, 0x1.8bd1aeaba8c43p-6, -0x1.1e2d9f5d6c758p+1, 0x1.ddbd16b45cd95p+1, \
    -0x1.15d3fd0f7de9ep+2, 0x1.3eeb3e7ca0564p+1, 0x1.850d681797056p+0, -0x1.d700db4f49f93p+1, 0x1.a2674abd36fcbp-5, \
    0x1.3921cbf544c43p+2, -0x1.c748c52c8d2ep-1, -0x1.edd85ffdd6782p+2, 0x1.27d30e969efd1p-1, 0x1.bfcb880fe1a07p+3, \
    0x1.010f43754337bp+2, -0x1.9dfc089c9b685p+4, -0x1.7315c14f44786p+4, 0x1.41f53028f7d6dp+5, 0x1.42b44ffb7a46dp+6, \
    -0x1.b27e416ebdd3dp+4, -0x1.87afed0943c6bp+7, -0x1.769e7ff17592p+6, 0x1.043a9d41e5105p+8, 0x1.194c69302815cp+8)
/* u = t / (t + 5) - 0.4375, 0 <= t <= 39: 2^-56.6 */
#define CBP_GELU_SLOPE_C 5.0
#define CBP_GELU_SLOPE_MID 0.4375
#define CBP_GELU_T0 0x1.80ead197f00b4p-1
#define CBP_GELU_T0_LO -0x1.13e74c58cada8p-56
#define CBP_POLY_GELU_SLOPE(u) CBP_P21(u, -0x1.298a4a85eb28cp-4, -0x1.b52d670fb8067p-2, 0x1.35ccf839e5bdep-1, \
    -0x1.7633211404d8dp-1, 0x1.783196ad1f403p-1, -0x1.2d8c5265188f2p-1, 0x1.5e78f02f896e7p-2, \
    -0x1.a3f6635e370b4p-4, -0x1.174bd9aa34d81p-5, 0x1.a24da87d2c531p-5, -0x1.5711709b11175p-7, \
    -0x1.04c49d80b59a7p-6, 0x1.2304f9a004b79p-7, 0x1.4fd921b001f67p-8, -0x1.41dbdeec3c9abp-8, \
    -0x1.11e41a2e04e2fp-9, 0x1.4fcd1da9531a3p-9, 0x1.306ae7726c46fp-10, -0x1.4449435302b44p-10, \
    -0x1.7d48d34fecd88p-11, 0x1.aabbeb57efb2cp-12, 0x1.504a3fa1450f2p-12)

#define CBP_PDF_HI 0x1.9884533d43651p-2
#define CBP_PDF_LO -0x1.cbc0d30ebfd15p-56
#define CBP_GT_A 0x1.9884533d43651p+0
#define CBP_GT_A_LO -0x1.cbc0d30ebfd15p-54
#define CBP_GT_B 0x1.2444f2a4d8b4bp-4
#define CBP_GT_B_LO -0x1.6c843a29d1c70p-61

#define CBP_SILU_T0 0x1.474973c84120bp+0
#define CBP_SILU_OFF 0x1.21b929d8bb295p-51
#define CBP_MISH_X0 -0x1.31432c0d12d84p+0
#define CBP_MISH_X0_LO -0x1.065294959af6cp-53
#define CBP_MISH_W0 0x1.36c4202fc3eccp-2
#define CBP_MISH_ETA -0x1.e246d90b1c826p-54
#define CBP_MISH_C0 0x1.31ac354e2a078p-2
#define CBP_MISH_C1 0x1.cf1d5480ba0e4p-4
#define CBP_MISH_C2 0x1.c9f40193f744ap-8
#define CBP_GT_T0 0x1.81429f9e97e4dp-1
#define CBP_GT_E0 0x1.2af64e9c485eep-2
#define CBP_GT_Y0 0x1.3b2cf738f9ffep+0
#define CBP_GT_Y0_LO -0x1.94ce65f8cf76cp-55
#define CBP_GT_ETA -0x1.20ee2434e6d7cp-54

/* 2^-57.9, 2^-63.9 */
#define CBP_POLY_SIN(z) CBP_P5(z, -0x1.5555555555548p-3, 0x1.111111110f731p-7, -0x1.a01a019be95a4p-13, \
    0x1.71de355571f99p-19, -0x1.ae5e4bcd677afp-26, 0x1.5d8b70cf637bfp-33)
#define CBP_POLY_COS(z) CBP_P5(z, 0x1.555555555554bp-5, -0x1.6c16c16c1500dp-10, 0x1.a01a019c8dd07p-16, \
    -0x1.27e4f7f04df67p-22, 0x1.1ee9dac95dfd9p-29, -0x1.8fa5eb15d191fp-37)

#endif
#endif
