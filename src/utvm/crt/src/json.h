/* A reader of JSON texts that allocates nothing; private to the runtime.
 *
 * json_check walks over a text once and knows then that it is JSON (RFC 8259) and not nested too
 * deeply. All other functions take places in a text that json_check has accepted, so they need not
 * look for its end. A place is a pointer to the first character of a value; a value is not copied.
 * Strings are compared and returned as they stand between their quotes, escapes included. */
#ifndef UTVM_JSON_H
#define UTVM_JSON_H

#include <stddef.h>
#include <stdint.h>

typedef const char *JsonValue;

/* Where an iteration over an array is. */
typedef struct {
  const char *at;
} JsonItems;

/* TVM_OK, TVM_ERROR_JSON or TVM_ERROR_JSON_DEPTH. root is where the text's value begins. */
int32_t json_check(const char *text, size_t bytes, JsonValue *root);

/* Starts an iteration; 0 if the value is no array. */
int json_array(JsonValue value, JsonItems *items);

/* The next element; 0 behind the last. */
int json_next(JsonItems *items, JsonValue *value);

/* The first member with that key; null if there is none, or if the value is no object. */
JsonValue json_member(JsonValue object, const char *key);

/* The number of elements; 0 for what is no array. */
uint32_t json_length(JsonValue array);

/* The characters between the quotes; 0 if the value is no string. */
int json_string(JsonValue value, const char **text, size_t *bytes);
int json_equals(JsonValue value, const char *text);

/* A whole number from 0 to maximum, without fraction and exponent, as it is or in quotes; 0 if the
 * value is none. */
int json_number(JsonValue value, uint32_t maximum, uint32_t *number);

/* The next element, if it is such a number; 0 if it is none or there is none. */
int json_next_number(JsonItems *items, uint32_t maximum, uint32_t *number);

#endif
