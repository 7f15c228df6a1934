/* How functions are marked whose whole body is assembly.
 *
 * `naked`: the compiler adds nothing, the assembly keeps to AAPCS32 by itself. `noipa`, where it is
 * known: GCC must not look into such a function to find out which registers a call leaves alone. */
#ifndef UTVM_ASSEMBLY_H
#define UTVM_ASSEMBLY_H

#if defined(__GNUC__) && !defined(__clang__)
#define UTVM_ASSEMBLY __attribute__((naked, noipa))
#else
#define UTVM_ASSEMBLY __attribute__((naked))
#endif

#endif
