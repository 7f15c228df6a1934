/* The JSON reader: see json.h. */
#include "json.h"

#include "utvm/mem.h"
#include "utvm/runtime.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

/* What is left of a text that is not checked yet. */
typedef struct {
  const char *at;
  const char *end;
} JsonText;

/* The next character; 0, which no JSON holds where it would be asked for, at the end. */
static char json_peek(const JsonText *text) {
  return text->at < text->end ? *text->at : '\0';
}

static int json_is_space(char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static int json_is_digit(char c) {
  return c >= '0' && c <= '9';
}

static void json_space(JsonText *text) {
  while (json_is_space(json_peek(text))) {
    text->at++;
  }
}

/* Goes over c if it is next. */
static int json_take(JsonText *text, char c) {
  if (json_peek(text) != c) {
    return 0;
  }
  text->at++;
  return 1;
}

static int json_is_hex(char c) {
  return json_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Goes over what follows a backslash. */
static int json_take_escape(JsonText *text) {
  const char c = json_peek(text);
  int digits = 4;
  if (c == '\0') {
    return 0;
  }
  text->at++;
  if (c != 'u') {
    return c == '"' || c == '\\' || c == '/' || c == 'b' || c == 'f' || c == 'n' || c == 'r' ||
           c == 't';
  }
  for (; digits > 0 && json_is_hex(json_peek(text)); digits--) {
    text->at++;
  }
  return digits == 0;
}

static int json_take_string(JsonText *text) {
  if (!json_take(text, '"')) {
    return 0;
  }
  while (text->at < text->end) {
    char c = *text->at++;
    if (c == '"') {
      return 1;
    }
    if ((unsigned char)c < 0x20) {
      return 0;
    }
    if (c == '\\' && !json_take_escape(text)) {
      return 0;
    }
  }
  return 0;
}

/* One digit or more. */
static int json_take_digits(JsonText *text) {
  if (!json_is_digit(json_peek(text))) {
    return 0;
  }
  while (json_is_digit(json_peek(text))) {
    text->at++;
  }
  return 1;
}

static int json_take_number(JsonText *text) {
  (void)json_take(text, '-');
  if (!json_take(text, '0') && !json_take_digits(text)) {
    return 0;
  }
  if (json_take(text, '.') && !json_take_digits(text)) {
    return 0;
  }
  if (json_take(text, 'e') || json_take(text, 'E')) {
    if (!json_take(text, '+')) {
      (void)json_take(text, '-');
    }
    return json_take_digits(text);
  }
  return 1;
}

static int json_take_word(JsonText *text, const char *word) {
  while (*word != '\0') {
    if (!json_take(text, *word++)) {
      return 0;
    }
  }
  return 1;
}

/* Goes over a value that is no array and no object. */
static int json_take_scalar(JsonText *text) {
  switch (json_peek(text)) {
  case '"':
    return json_take_string(text);
  case 't':
    return json_take_word(text, "true");
  case 'f':
    return json_take_word(text, "false");
  case 'n':
    return json_take_word(text, "null");
  default:
    return json_take_number(text);
  }
}

/* Goes over "key": to where its value begins. */
static int json_take_key(JsonText *text) {
  json_space(text);
  if (!json_take_string(text)) {
    return 0;
  }
  json_space(text);
  if (!json_take(text, ':')) {
    return 0;
  }
  json_space(text);
  return 1;
}

int32_t json_check(const char *start, size_t bytes, JsonValue *root) {
  JsonText text = {start, start + bytes};
  uint32_t depth = 0;
  uint32_t objects = 0; /* a bit per open bracket, the innermost lowest: 1 is an object */
  json_space(&text);
  *root = text.at;
  for (;;) {
    /* Here a value begins. */
    char c = json_peek(&text);
    if (c == '{' || c == '[') {
      if (depth == TVM_JSON_MAX_DEPTH) {
        return TVM_ERROR_JSON_DEPTH;
      }
      depth++;
      objects = objects << 1 | (c == '{');
      text.at++;
      json_space(&text);
      if (json_peek(&text) != (c == '{' ? '}' : ']')) {
        if (c == '{' && !json_take_key(&text)) {
          return TVM_ERROR_JSON;
        }
        continue;
      }
    } else if (!json_take_scalar(&text)) {
      return TVM_ERROR_JSON;
    }
    /* Here a value has ended, or an empty array or object is about to. */
    json_space(&text);
    while (depth > 0 && json_take(&text, (objects & 1) != 0 ? '}' : ']')) {
      depth--;
      objects >>= 1;
      json_space(&text);
    }
    if (depth == 0) {
      return text.at == text.end ? TVM_OK : TVM_ERROR_JSON;
    }
    if (!json_take(&text, ',')) {
      return TVM_ERROR_JSON;
    }
    json_space(&text);
    if ((objects & 1) != 0 && !json_take_key(&text)) {
      return TVM_ERROR_JSON;
    }
  }
}

/* From here on the text is known to be JSON. */

static const char *json_skip_string(const char *at) {
  for (at++; *at != '"'; at++) {
    if (*at == '\\') {
      at++;
    }
  }
  return at + 1;
}

/* Behind the value, which is inside of an array or object: so something follows. */
static const char *json_skip(const char *at) {
  uint32_t depth = 0;
  do {
    switch (*at) {
    case '"':
      at = json_skip_string(at);
      break;
    case '[':
    case '{':
      depth++;
      at++;
      break;
    case ']':
    case '}':
      depth--;
      at++;
      break;
    default: /* a number, a word, or what stands between values */
      do {
        at++;
      } while (*at != '"' && *at != ',' && *at != '[' && *at != ']' && *at != '{' && *at != '}' &&
               !json_is_space(*at));
      break;
    }
  } while (depth > 0);
  return at;
}

static const char *json_skip_space(const char *at) {
  while (json_is_space(*at)) {
    at++;
  }
  return at;
}

int json_array(JsonValue value, JsonItems *items) {
  items->at = value + 1;
  return *value == '[';
}

int json_next(JsonItems *items, JsonValue *value) {
  const char *at = json_skip_space(items->at);
  if (*at == ',') {
    at = json_skip_space(at + 1);
  }
  if (*at == ']' || *at == '}') {
    items->at = at;
    return 0;
  }
  *value = at;
  items->at = json_skip(at);
  return 1;
}

int json_equals(JsonValue value, const char *text) {
  if (*value != '"') {
    return 0;
  }
  for (value++; *text != '\0'; value++, text++) {
    if (*value != *text) {
      return 0;
    }
  }
  return *value == '"';
}

JsonValue json_member(JsonValue object, const char *key) {
  JsonItems items = {object + 1};
  JsonValue name;
  if (*object != '{') {
    return NULL;
  }
  while (json_next(&items, &name)) {
    const JsonValue value = json_skip_space(json_skip_space(items.at) + 1); /* behind the colon */
    if (json_equals(name, key)) {
      return value;
    }
    items.at = json_skip(value);
  }
  return NULL;
}

uint32_t json_length(JsonValue array) {
  JsonItems items;
  JsonValue value;
  uint32_t length = 0;
  if (json_array(array, &items)) {
    while (json_next(&items, &value)) {
      length++;
    }
  }
  return length;
}

int json_string(JsonValue value, const char **text, size_t *bytes) {
  if (*value != '"') {
    return 0;
  }
  *text = value + 1;
  *bytes = (size_t)(json_skip_string(value) - value) - 2;
  return 1;
}

int json_number(JsonValue value, uint32_t maximum, uint32_t *number) {
  uint32_t result = 0;
  const char *at = *value == '"' ? value + 1 : value;
  if (!json_is_digit(*at)) {
    return 0;
  }
  for (; json_is_digit(*at); at++) {
    if (result > (UINT32_MAX - 9) / 10) {
      return 0;
    }
    result = 10 * result + (uint32_t)(*at - '0');
  }
  *number = result;
  if (*value == '"') {
    return *at == '"' && result <= maximum;
  }
  return *at != '.' && *at != 'e' && *at != 'E' && result <= maximum;
}

int json_next_number(JsonItems *items, uint32_t maximum, uint32_t *number) {
  JsonValue value;
  return json_next(items, &value) && json_number(value, maximum, number);
}

UTVM_SMALL_END
