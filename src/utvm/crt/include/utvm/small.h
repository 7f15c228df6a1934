/* Functions between UTVM_SMALL_BEGIN and UTVM_SMALL_END are compiled for size, whatever the optimization
 * level: what runs once at the start, or once per operator, is to take little flash. Does nothing in
 * compilers that know neither way of saying so. */
#ifndef UTVM_SMALL_H
#define UTVM_SMALL_H

#if defined(__clang__)
#define UTVM_SMALL_BEGIN \
  _Pragma("clang attribute push(__attribute__((minsize)), apply_to = function)")
#define UTVM_SMALL_END _Pragma("clang attribute pop")
#elif defined(__GNUC__) && defined(__OPTIMIZE__)
#define UTVM_SMALL_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"Os\")")
#define UTVM_SMALL_END _Pragma("GCC pop_options")
#else
#define UTVM_SMALL_BEGIN
#define UTVM_SMALL_END
#endif

#endif
