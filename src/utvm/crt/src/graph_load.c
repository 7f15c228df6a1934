/* Making a graph of its JSON text.
 *
 * The text is gone through three times: to check that it is JSON, to count what memory is needed, and
 * to fill that memory. Every number and every reference is checked before it is used, so the graph
 * that results can be run without further checks. SPEC.md describes the text. */
#include "graph.h"
#include "json.h"
#include "memory.h"
#include "registry.h"
#include "tensor.h"
#include "utvm/mem.h"
#include "utvm/small.h"

UTVM_SMALL_BEGIN

#define GRAPH_MAX_COUNT 0xFFFFu
#define GRAPH_MAX_EXTENTS 0xFFFFFu
#define GRAPH_MAX_NUMBER ((uint32_t)INT32_MAX)

/* The attributes that are read. Those for workspaces have an element per node, others per tensor. */
enum {
  GRAPH_SHAPE,
  GRAPH_TYPE,
  GRAPH_STORAGE,
  GRAPH_OFFSET, /* this and what follows is optional */
  GRAPH_WORKSPACE_OFFSET,
  GRAPH_WORKSPACE_BYTES,
  GRAPH_LISTS
};

/* One node, read. */
typedef struct {
  JsonValue name;
  JsonValue inputs;
  JsonValue function; /* null: an input of the graph */
  uint32_t output_count;
} GraphNode;

/* Everything that is known while a graph is made. */
typedef struct {
  /* Where the parts of the text are; null for what is optional and not there. */
  JsonValue nodes;
  JsonValue arg_nodes;
  JsonValue heads;
  JsonValue rows;
  JsonValue lists[GRAPH_LISTS];
  /* How many there are. */
  uint32_t node_count;
  uint32_t tensor_count;
  uint32_t extent_count;
  uint32_t operator_count;
  uint32_t argument_count;
  uint32_t most_arguments; /* of one operator */
  uint32_t input_count;
  uint32_t output_count;
  /* What is made. */
  TVMRuntime *runtime;
  TVMGraphRuntime *graph;
  uint32_t pool_bytes;
  uint32_t arguments; /* read so far */
} GraphLoader;

/* Finds a member that is an array; 0 if there is none. */
static int graph_array(JsonValue object, const char *key, JsonValue *array) {
  *array = json_member(object, key);
  return *array != NULL && **array == '[';
}

/* Finds a member ["list_int", [...]] and takes it apart: list becomes the inner array. */
static int graph_list(JsonValue object, const char *key, JsonValue *list) {
  JsonItems items;
  return graph_array(object, key, list) && json_array(*list, &items) && json_next(&items, list) &&
         **list == '"' && json_next(&items, list) && **list == '[';
}

static int graph_find_parts(GraphLoader *load, JsonValue root) {
  static const char *const keys[GRAPH_LISTS] = {
      "shape", "dltype", "storage_id", "storage_offset", "workspace_offset", "workspace_bytes"};
  const JsonValue attributes = json_member(root, "attrs");
  JsonValue *const lists = load->lists;
  int i;
  if (!graph_array(root, "nodes", &load->nodes) ||
      !graph_array(root, "arg_nodes", &load->arg_nodes) ||
      !graph_array(root, "heads", &load->heads) ||
      !graph_array(root, "node_row_ptr", &load->rows) || attributes == NULL) {
    return 0;
  }
  for (i = 0; i < GRAPH_LISTS; i++) {
    if (!graph_list(attributes, keys[i], &lists[i]) && (i < GRAPH_OFFSET || lists[i] != NULL)) {
      return 0;
    }
  }
  /* Workspaces are planned together with tensors, and have an offset and a size. */
  return (lists[GRAPH_WORKSPACE_OFFSET] == NULL) == (lists[GRAPH_WORKSPACE_BYTES] == NULL) &&
         (lists[GRAPH_WORKSPACE_OFFSET] == NULL || lists[GRAPH_OFFSET] != NULL);
}

static int graph_read_node(JsonValue value, GraphNode *node) {
  const JsonValue operation = json_member(value, "op");
  JsonValue attributes, outputs;
  node->name = json_member(value, "name");
  node->function = NULL;
  if (operation == NULL || node->name == NULL || *node->name != '"' ||
      !graph_array(value, "inputs", &node->inputs)) {
    return 0;
  }
  if (json_equals(operation, "null")) {
    return json_length(node->inputs) == 0;
  }
  attributes = json_member(value, "attrs");
  if (attributes == NULL || !json_equals(operation, "tvm_op")) {
    return 0;
  }
  node->function = json_member(attributes, "func_name");
  outputs = json_member(attributes, "num_outputs");
  return node->function != NULL && *node->function == '"' && outputs != NULL &&
         json_number(outputs, GRAPH_MAX_COUNT, &node->output_count);
}

/* A node that gives its input another shape and needs no call. */
static int graph_is_nop(const GraphNode *node) {
  return json_equals(node->function, "__nop");
}

static int graph_count(GraphLoader *load) {
  JsonItems items;
  JsonValue value;
  GraphNode node;
  load->tensor_count = json_length(load->lists[GRAPH_SHAPE]);
  load->input_count = json_length(load->arg_nodes);
  load->output_count = json_length(load->heads);
  (void)json_array(load->nodes, &items);
  while (json_next(&items, &value)) {
    if (!graph_read_node(value, &node) || load->argument_count > GRAPH_MAX_COUNT) {
      return 0;
    }
    load->node_count++;
    if (node.function != NULL && !graph_is_nop(&node)) {
      const uint32_t arguments = json_length(node.inputs) + node.output_count;
      load->operator_count++;
      load->argument_count += arguments;
      if (arguments > load->most_arguments) {
        load->most_arguments = arguments;
      }
    }
  }
  (void)json_array(load->lists[GRAPH_SHAPE], &items);
  while (json_next(&items, &value)) {
    load->extent_count += json_length(value);
  }
  return load->node_count <= GRAPH_MAX_COUNT && load->tensor_count <= GRAPH_MAX_COUNT &&
         load->argument_count <= GRAPH_MAX_COUNT && load->output_count <= GRAPH_MAX_COUNT &&
         load->input_count <= load->node_count && load->extent_count <= GRAPH_MAX_EXTENTS;
}

/* Notes that `count` elements of `bytes` bytes come next in the block; returns where. */
static size_t graph_reserve(size_t *used, uint32_t count, size_t bytes) {
  const size_t at = *used;
  *used = memory_aligned(at + count * bytes);
  return at;
}

/* Takes the block for the structure and all arrays. */
static int32_t graph_allocate(GraphLoader *load) {
  size_t used = memory_aligned(sizeof(TVMGraphRuntime));
  void *block;
  uint8_t *base;
  TVMGraphRuntime *graph;
  const size_t tensors = graph_reserve(&used, load->tensor_count, sizeof(DLTensor));
  const size_t extents = graph_reserve(&used, load->extent_count, sizeof(int64_t));
  const size_t operators = graph_reserve(&used, load->operator_count, sizeof(GraphOperator));
  const size_t inputs = graph_reserve(&used, load->input_count, sizeof(GraphInput));
  const size_t values = graph_reserve(&used, load->most_arguments, sizeof(TVMValue));
  const size_t codes = graph_reserve(&used, load->most_arguments, sizeof(int));
  const uint32_t row_count = load->node_count + 1;
  const uint32_t number_count = row_count + load->output_count + load->argument_count;
  const size_t numbers = graph_reserve(&used, number_count, sizeof(uint16_t));
  const int32_t status = TVMRuntime_Allocate(load->runtime, used, &block);
  if (status != TVM_OK) {
    return status;
  }
  memset(block, 0, used);
  base = block;
  graph = block;
  graph->runtime = load->runtime;
  graph->tensors = (DLTensor *)(void *)(base + tensors);
  graph->extents = (int64_t *)(void *)(base + extents);
  graph->operators = (GraphOperator *)(void *)(base + operators);
  graph->inputs = (GraphInput *)(void *)(base + inputs);
  graph->values = (TVMValue *)(void *)(base + values);
  graph->type_codes = (int *)(void *)(base + codes);
  graph->rows = (uint16_t *)(void *)(base + numbers);
  graph->outputs = graph->rows + row_count;
  graph->arguments = graph->outputs + load->output_count;
  load->graph = graph;
  return TVM_OK;
}

/* The number of the first tensor per node, rising from 0 to the number of tensors. */
static int graph_load_rows(GraphLoader *load) {
  JsonItems items;
  uint32_t row = 0;
  uint32_t least = 0;
  uint32_t i;
  (void)json_array(load->rows, &items);
  for (i = 0; i <= load->node_count; i++) {
    if (!json_next_number(&items, load->tensor_count, &row) || row < least ||
        (i == 0 && row != 0)) {
      return 0;
    }
    load->graph->rows[i] = (uint16_t)row;
    least = row;
  }
  return row == load->tensor_count;
}

/* Behind the word, if the text begins with it. */
static const char *graph_skip_word(const char *at, const char *word) {
  size_t i;
  for (i = 0; word[i] != '\0'; i++) {
    if (at[i] != word[i]) {
      return at;
    }
  }
  return at + i;
}

/* Reads "int8", "uint16", "float32" and so on, or "bool". */
static int graph_parse_type(JsonValue value, DLDataType *type) {
  const char *const name = graph_skip_word(value, "\"");
  const char *at = graph_skip_word(name, "float");
  uint32_t bits = 0;
  type->lanes = 1;
  type->code = kDLFloat;
  if (at == name) {
    at = graph_skip_word(name, "u");
    type->code = at == name ? kDLInt : kDLUInt;
    at = graph_skip_word(at, "int");
  }
  for (; *at >= '0' && *at <= '9' && bits <= 64; at++) {
    bits = 10 * bits + (uint32_t)(*at - '0');
  }
  type->bits = (uint8_t)bits;
  if (json_equals(value, "bool")) {
    type->code = kDLUInt;
    type->bits = 1;
    return 1;
  }
  return name != value && *at == '"' && (bits == 8 || bits == 16 || bits == 32 || bits == 64);
}

static uint32_t graph_bytes(const DLTensor *tensor) {
  uint32_t bytes = 0;
  (void)tensor_size(tensor, &bytes); /* its type and shape were checked when it was read */
  return (uint32_t)memory_aligned(bytes);
}

/* Makes the pool reach to the end of what lies at offset; both are below 2^31. */
static void graph_extend_pool(GraphLoader *load, uint32_t offset, uint32_t bytes) {
  if (offset + bytes > load->pool_bytes) {
    load->pool_bytes = offset + bytes;
  }
}

/* Shapes, types, and per tensor the number of its storage in device_id. Where offsets are planned,
 * they are noted in byte_offset. */
static int graph_load_tensors(GraphLoader *load) {
  JsonItems shapes, types, storages, offsets, extents;
  JsonValue value;
  int64_t *extent = load->graph->extents;
  uint32_t i;
  uint32_t number;
  uint32_t bytes;
  (void)json_array(load->lists[GRAPH_SHAPE], &shapes);
  (void)json_array(load->lists[GRAPH_TYPE], &types);
  (void)json_array(load->lists[GRAPH_STORAGE], &storages);
  (void)json_array(load->lists[GRAPH_OFFSET] == NULL ? load->lists[GRAPH_STORAGE]
                                                     : load->lists[GRAPH_OFFSET],
                   &offsets);
  for (i = 0; i < load->tensor_count; i++) {
    DLTensor *tensor = &load->graph->tensors[i];
    if (!json_next_number(&storages, GRAPH_MAX_NUMBER, &number)) {
      return 0;
    }
    tensor->device.device_id = (int32_t)number;
    if (!json_next(&types, &value) || !graph_parse_type(value, &tensor->dtype) ||
        !json_next(&shapes, &value) || !json_array(value, &extents)) {
      return 0;
    }
    tensor->shape = extent;
    for (; json_next(&extents, &value); tensor->ndim++) {
      if (!json_number(value, GRAPH_MAX_NUMBER, &number)) {
        return 0;
      }
      *extent++ = number;
    }
    if (!tensor_size(tensor, &bytes) || !json_next_number(&offsets, GRAPH_MAX_NUMBER, &number)) {
      return 0;
    }
    if (load->lists[GRAPH_OFFSET] != NULL) {
      if (number % 8 != 0) {
        return 0;
      }
      tensor->byte_offset = number;
      graph_extend_pool(load, number, graph_bytes(tensor));
    }
  }
  return !json_next(&types, &value) && !json_next(&storages, &value) &&
         !json_next(&offsets, &value);
}

/* Without a plan, tensors of one storage share memory: the first of them says where in the pool, the
 * largest how much. 0 if it is more than the runtime has. */
static int graph_place_storages(GraphLoader *load) {
  DLTensor *const tensors = load->graph->tensors;
  const DLTensor *const end = tensors + load->tensor_count;
  DLTensor *first;
  DLTensor *other;
  for (first = tensors; first < end; first++) {
    const uint32_t at = load->pool_bytes;
    if (first->device.device_type == kDLCPU) {
      continue; /* placed with an earlier one */
    }
    for (other = first; other < end; other++) {
      if (other->device.device_id == first->device.device_id) {
        other->device.device_type = kDLCPU;
        other->byte_offset = at;
        graph_extend_pool(load, at, graph_bytes(other));
      }
    }
    if (load->pool_bytes > load->runtime->config.memory_bytes) {
      return 0;
    }
  }
  return 1;
}

/* Reads [node, output] or [node, output, version]: an output of one of the first `nodes` nodes. */
static int graph_read_reference(const GraphLoader *load, JsonValue value, uint32_t nodes,
                                uint16_t *tensor) {
  const uint16_t *const rows = load->graph->rows;
  JsonItems items;
  uint32_t node, output;
  if (!json_array(value, &items) || !json_next_number(&items, GRAPH_MAX_COUNT, &node) ||
      node >= nodes || !json_next_number(&items, GRAPH_MAX_COUNT, &output) ||
      output >= (uint32_t)rows[node + 1] - rows[node]) {
    return 0;
  }
  *tensor = (uint16_t)(rows[node] + output);
  return 1;
}

/* Whether a node that is not called has one input and one output, which are the same memory. */
static int graph_check_nop(const GraphLoader *load, const GraphNode *node, uint32_t index) {
  const DLTensor *const tensors = load->graph->tensors;
  const DLTensor *const output = &tensors[load->graph->rows[index]];
  JsonItems items;
  JsonValue value;
  uint16_t input;
  (void)json_array(node->inputs, &items);
  return node->output_count == 1 && json_next(&items, &value) &&
         graph_read_reference(load, value, index, &input) &&
         tensors[input].byte_offset == output->byte_offset &&
         graph_bytes(&tensors[input]) == graph_bytes(output) && !json_next(&items, &value);
}

static int32_t graph_load_operator(GraphLoader *load, const GraphNode *node, uint32_t index) {
  TVMGraphRuntime *const graph = load->graph;
  GraphOperator *const operator = &graph->operators[graph->operator_count];
  JsonItems items;
  JsonValue value;
  const char *name;
  size_t name_bytes;
  uint16_t tensor;
  int32_t status;
  operator->first_argument = (uint16_t)load->arguments;
  (void)json_array(node->inputs, &items);
  while (json_next(&items, &value)) {
    if (!graph_read_reference(load, value, index, &tensor)) {
      return TVM_ERROR_GRAPH;
    }
    graph->arguments[load->arguments++] = tensor;
  }
  for (tensor = graph->rows[index]; tensor < graph->rows[index + 1]; tensor++) {
    graph->arguments[load->arguments++] = tensor;
  }
  operator->argument_count = (uint16_t)(load->arguments - operator->first_argument);
  graph->operator_count++;
  (void)json_string(node->function, &name, &name_bytes);
  status =
      TVMFuncRegistry_Lookup(load->runtime->config.registry, name, name_bytes, &operator->function);
  if (status != TVM_OK) {
    registry_log(load->runtime, status, name, name_bytes);
  }
  return status;
}

/* Adds an input of the graph: the node must be the next one that arg_nodes lists. */
static int graph_load_input(GraphLoader *load, const GraphNode *node, uint32_t index,
                            JsonItems *listed) {
  TVMGraphRuntime *const graph = load->graph;
  GraphInput *const input = &graph->inputs[graph->input_count];
  uint32_t number;
  size_t name_bytes;
  if (!json_next_number(listed, index, &number) || number != index ||
      !json_string(node->name, &input->name, &name_bytes) || name_bytes > GRAPH_MAX_COUNT) {
    return 0;
  }
  input->name_bytes = (uint16_t)name_bytes;
  input->tensor = graph->rows[index];
  graph->input_count++;
  return graph->rows[index + 1] - graph->rows[index] == 1;
}

static int32_t graph_load_node(GraphLoader *load, const GraphNode *node, uint32_t index,
                               JsonItems *listed) {
  const uint16_t *const rows = load->graph->rows;
  int right;
  if (node->function == NULL) {
    right = graph_load_input(load, node, index, listed);
  } else if (node->output_count != (uint32_t)rows[index + 1] - rows[index]) {
    right = 0;
  } else if (graph_is_nop(node)) {
    right = graph_check_nop(load, node, index);
  } else {
    return graph_load_operator(load, node, index);
  }
  return right ? TVM_OK : TVM_ERROR_GRAPH;
}

/* Reads the next planned workspace and gives it to the operator, if the node is one. */
static int graph_load_workspace(GraphLoader *load, JsonItems *offsets, JsonItems *sizes,
                                GraphOperator *operator) {
  uint32_t offset, bytes;
  if (!json_next_number(offsets, GRAPH_MAX_NUMBER, &offset) || offset % 8 != 0 ||
      !json_next_number(sizes, GRAPH_MAX_NUMBER, &bytes)) {
    return 0;
  }
  if (operator != NULL && bytes != 0) {
    operator->workspace_offset = offset;
    operator->workspace_bytes = (uint32_t)memory_aligned(bytes);
    graph_extend_pool(load, offset, operator->workspace_bytes);
  }
  return 1;
}

/* Inputs and operators, in the order of the nodes. */
static int32_t graph_load_nodes(GraphLoader *load) {
  TVMGraphRuntime *const graph = load->graph;
  JsonItems items, listed;
  JsonItems offsets = {NULL};
  JsonItems sizes = {NULL};
  JsonValue value;
  GraphNode node;
  uint32_t i;
  (void)json_array(load->nodes, &items);
  (void)json_array(load->arg_nodes, &listed);
  if (load->lists[GRAPH_WORKSPACE_OFFSET] != NULL) {
    (void)json_array(load->lists[GRAPH_WORKSPACE_OFFSET], &offsets);
    (void)json_array(load->lists[GRAPH_WORKSPACE_BYTES], &sizes);
  }
  for (i = 0; i < load->node_count; i++) {
    const uint32_t before = graph->operator_count;
    int32_t status;
    (void)json_next(&items, &value);
    (void)graph_read_node(value, &node); /* succeeded when nodes were counted */
    status = graph_load_node(load, &node, i, &listed);
    if (status != TVM_OK) {
      return status;
    }
    if (load->lists[GRAPH_WORKSPACE_OFFSET] != NULL &&
        !graph_load_workspace(load, &offsets, &sizes,
                              graph->operator_count > before ? &graph->operators[before] : NULL)) {
      return TVM_ERROR_GRAPH;
    }
  }
  return json_next(&listed, &value) ? TVM_ERROR_GRAPH : TVM_OK;
}

static int graph_load_outputs(GraphLoader *load) {
  TVMGraphRuntime *const graph = load->graph;
  JsonItems items;
  JsonValue value;
  (void)json_array(load->heads, &items);
  while (json_next(&items, &value)) {
    if (!graph_read_reference(load, value, load->node_count,
                              &graph->outputs[graph->output_count])) {
      return 0;
    }
    graph->output_count++;
  }
  return 1;
}

/* Takes the pool and turns offsets in it into addresses. */
static int32_t graph_take_pool(GraphLoader *load) {
  TVMGraphRuntime *const graph = load->graph;
  void *pool;
  uint32_t i;
  const int32_t status = TVMRuntime_Allocate(load->runtime, load->pool_bytes, &pool);
  if (status != TVM_OK) {
    return status;
  }
  graph->pool = pool;
  for (i = 0; i < load->tensor_count; i++) {
    DLTensor *const tensor = &graph->tensors[i];
    tensor->data = graph->pool + (size_t)tensor->byte_offset;
    tensor->byte_offset = 0;
    tensor->device.device_type = kDLCPU;
    tensor->device.device_id = 0;
  }
  return TVM_OK;
}

/* Fills the allocated graph; the order matters, each step uses what those before have checked. */
static int32_t graph_fill(GraphLoader *load) {
  int32_t status;
  if (!graph_load_rows(load) || !graph_load_tensors(load)) {
    return TVM_ERROR_GRAPH;
  }
  if (load->lists[GRAPH_OFFSET] == NULL && !graph_place_storages(load)) {
    return TVM_ERROR_MEMORY;
  }
  status = graph_load_nodes(load);
  if (status != TVM_OK) {
    return status;
  }
  return graph_load_outputs(load) ? graph_take_pool(load) : TVM_ERROR_GRAPH;
}

int32_t TVMGraphRuntime_Create(TVMRuntime *runtime, const char *json, size_t json_bytes,
                               TVMGraphRuntime **graph) {
  GraphLoader load = {0};
  JsonValue root;
  int32_t status;
  if (runtime == NULL || json == NULL || graph == NULL) {
    return TVM_ERROR_ARGUMENT;
  }
  status = json_check(json, json_bytes, &root);
  if (status != TVM_OK) {
    return status;
  }
  load.runtime = runtime;
  /* A text that is a lone number has no end that a reader could see, so the bracket comes first. */
  if (*root != '{' || !graph_find_parts(&load, root) || !graph_count(&load)) {
    return TVM_ERROR_GRAPH;
  }
  status = graph_allocate(&load);
  if (status != TVM_OK) {
    return status;
  }
  status = graph_fill(&load);
  if (status != TVM_OK) {
    (void)TVMRuntime_Free(runtime, load.graph);
    return status;
  }
  *graph = load.graph;
  return TVM_OK;
}

UTVM_SMALL_END
