/* Float functions for generated code, without the C library's math.
 *
 * All are defined for every argument, NaN and infinities included, and never set errno or trap.
 * Errors are given in units in the last place of the exact result, for round-to-nearest and
 * IEEE 754 single precision; functions without a bound are exact. Arguments are plain numbers,
 * not fixed-point; angles do not occur. */
#ifndef UTVM_MATH_H
#define UTVM_MATH_H

float utvm_expf(float x);      /* e to the x; below 1.1 ulp */
float utvm_logf(float x);      /* natural logarithm; below 1.0 ulp; NaN below zero */
float utvm_tanhf(float x);     /* hyperbolic tangent; below 1.5 ulp */
float utvm_logisticf(float x); /* 1 / (1 + e to the -x); below 3.0 ulp */
float utvm_sqrtf(float x);     /* square root, correctly rounded; NaN below zero */
float utvm_roundf(float x);    /* to the nearest whole number, halves away from zero */
float utvm_rintf(float x);     /* to the nearest whole number, halves to the even one */
float utvm_floorf(float x);    /* to the next whole number below */

#endif
