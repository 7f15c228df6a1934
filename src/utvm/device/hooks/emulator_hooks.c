/* The counting half of the emulator: hooks that Unicorn calls, in C because they run per block.
 *
 * A program is walked as a graph. A node is a basic block together with the state of the pipeline
 * when it is entered; it carries what one execution adds to the counts. An edge leads from a node
 * to the node entered next. Python computes nodes and edges, each once, when the walk first needs
 * them: the hook then stops the emulator with STOP_NEW_EDGE before the block runs. Everything rare
 * is such a stop, so this file only looks up, adds and compares.
 *
 * Unicorn ships no headers in its wheel: the few declarations needed stand here, and its functions
 * arrive as pointers. The struct machine is mirrored by emulator_hooks.py, which checks its size.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
  STOP_NONE,
  STOP_NEW_EDGE,
  STOP_RETURNED,
  STOP_SLICE,
  STOP_STACK,
  STOP_UNALIGNED,
  STOP_INTERRUPT,
  STOP_ADDRESS,
  STOP_TICK,
  STOP_IF_THEN
};
enum {
  NODE_CHECKS_STACK = 1,
  NODE_ENTERS_MEASURED = 2,
  NODE_ENTERS_OPERATOR = 4,
  NODE_CHECKS_BASES = 8,
  NODE_DROPPED = 16
};
enum { EDGE_TAKEN = 1, EDGE_CALLS = 2, EDGE_CHECKS_STACK = 4 };
enum { OWNER_INHERITED = -1, OWNER_MEASURED = 0 };

struct edge {
  uint32_t address; /* of the block entered */
  uint32_t size;    /* of the block entered, in bytes: one address may begin several blocks */
  int32_t node;
  int32_t leave_cycles; /* what the branch at the end of the block left costs this way */
  uint32_t flags;
  int32_t next; /* in the list of edges that leave the same node, or of unused ones */
};

struct node {
  int32_t instructions;
  int32_t cycles;
  int32_t owner;
  int32_t branch;      /* index of the predictor of the branch that ends it, or -1 */
  uint32_t stack_drop; /* how far below its value on entry the block pushes the stack pointer */
  uint32_t bases;      /* bit n: the block moves words in bulk through rn as it is on entry */
  uint32_t flags;
  int32_t edges; /* the first one; of an unused node: the next unused node */
};

struct owner {
  uint64_t calls;
  uint64_t instructions;
  uint64_t cycles;
  uint64_t order; /* rank of the first call within the invocation, from 1 */
};

#define IF_THEN_STATE 0x0600FC00u /* of xPSR */

enum { RIGHT_READ = 1, RIGHT_WRITE = 2, RIGHT_EXECUTE = 4, ACCESS_FETCH = 18 };

/* What Unicorn wants to know about a page. */
struct tlb_entry {
  uint64_t address;
  uint32_t rights;
};

struct machine {
  uint64_t instructions, cycles; /* since reset */
  uint64_t slice_end;            /* stop when this many instructions have been counted */
  uint64_t tick_cycles;          /* stop when this many cycles have been counted */
  uint32_t stop, interrupt;
  uint32_t address, size; /* of the block that was about to run */
  uint64_t fault_address;
  uint32_t fault_type, fault_size;
  int32_t current; /* node that runs */
  int32_t left;    /* the edge out of it is already paid for */
  /* The invocation being measured. */
  int32_t measuring, owner;
  uint32_t return_address, return_sp;
  uint64_t start_instructions, start_cycles;
  uint64_t mark_instructions, mark_cycles; /* when the present owner took over */
  uint64_t order;
  struct owner *owners;
  int32_t owner_count, mispredict_cycles;
  uint32_t stack_low, lowest_sp;
  int32_t r0_register, sp_register, lr_register, xpsr_register;
  int (*emu_stop)(void *uc);
  int (*reg_read)(void *uc, int reg, void *value);
  struct node *nodes;
  struct edge *edges;
  uint8_t *predictors;
  int32_t node_count, edge_count, predictor_count;
  int32_t unused_node, unused_edge; /* the first of each, or -1 */
  int32_t stop_count;
  const uint32_t *stops; /* a block that holds one of these addresses does not run */
  uint32_t step_bytes;   /* if not 0: one instruction of this size runs, whatever its block */
  uint32_t stepped;      /* whether it has been entered */
  uint32_t page_met;     /* for data, since the last block was entered */
  uint32_t reserved;
};

uint32_t emulator_machine_size(void) {
  return (uint32_t)sizeof(struct machine);
}

static void *grow(void *array, int32_t count, size_t size) {
  if ((count & (count - 1)) != 0)
    return array;
  return realloc(array, (count ? 2 * (size_t)count : 1) * size);
}

/* These return the index of what they added, or -1 when memory ran out. */
int32_t emulator_add_node(struct machine *m, const struct node *made) {
  struct node *nodes;
  int32_t unused = m->unused_node;
  if (unused >= 0) {
    m->unused_node = m->nodes[unused].edges;
    m->nodes[unused] = *made;
    m->nodes[unused].edges = -1;
    return unused;
  }
  nodes = grow(m->nodes, m->node_count, sizeof *nodes);
  if (nodes == NULL)
    return -1;
  m->nodes = nodes;
  nodes[m->node_count] = *made;
  nodes[m->node_count].edges = -1;
  return m->node_count++;
}

int32_t emulator_add_edge(struct machine *m, int32_t from, const struct edge *made) {
  int32_t added = m->unused_edge;
  if (added >= 0) {
    m->unused_edge = m->edges[added].next;
  } else {
    struct edge *edges = grow(m->edges, m->edge_count, sizeof *edges);
    if (edges == NULL)
      return -1;
    m->edges = edges;
    added = m->edge_count++;
  }
  m->edges[added] = *made;
  m->edges[added].next = m->nodes[from].edges;
  m->nodes[from].edges = added;
  return added;
}

int32_t emulator_add_predictor(struct machine *m) {
  uint8_t *predictors = grow(m->predictors, m->predictor_count, 1);
  if (predictors == NULL)
    return -1;
  m->predictors = predictors;
  predictors[m->predictor_count] = 1; /* weakly not taken */
  return m->predictor_count++;
}

static void drop_edges(struct machine *m, struct node *node) {
  int32_t *link = &node->edges;
  while (*link >= 0) {
    struct edge *edge = &m->edges[*link];
    if ((node->flags & NODE_DROPPED) || (m->nodes[edge->node].flags & NODE_DROPPED)) {
      int32_t at = *link;
      *link = edge->next;
      edge->next = m->unused_edge;
      m->unused_edge = at;
    } else {
      link = &edge->next;
    }
  }
}

/* Forgets nodes whose code was overwritten, and every edge from or to them. The node that runs may
 * not be one of them. */
void emulator_drop_nodes(struct machine *m, const int32_t *dropped, int32_t count) {
  for (int32_t i = 0; i < count; ++i)
    m->nodes[dropped[i]].flags |= NODE_DROPPED;
  for (int32_t i = 0; i < m->node_count; ++i) {
    /* One that has been unused for longer keeps its mark, and its link is no edge. */
    if ((m->nodes[i].flags & NODE_DROPPED) == 0)
      drop_edges(m, &m->nodes[i]);
  }
  for (int32_t i = 0; i < count; ++i) {
    struct node *node = &m->nodes[dropped[i]];
    drop_edges(m, node);
    node->edges = m->unused_node;
    m->unused_node = dropped[i];
  }
}

void emulator_reset_predictor(struct machine *m, int32_t predictor) {
  m->predictors[predictor] = 1;
}

void emulator_release(struct machine *m) {
  free(m->nodes);
  free(m->edges);
  free(m->predictors);
  m->nodes = NULL;
  m->edges = NULL;
  m->predictors = NULL;
}

static void stop(void *uc, struct machine *m, uint32_t reason) {
  m->stop = reason;
  m->emu_stop(uc);
}

static uint32_t read_register(void *uc, const struct machine *m, int reg) {
  uint32_t value = 0;
  m->reg_read(uc, reg, &value);
  return value;
}

/* The edge to the block, moved to the front of its list: loops find theirs at once. */
static const struct edge *find_edge(struct machine *m, uint32_t address, uint32_t size) {
  int32_t *link = &m->nodes[m->current].edges;
  for (int32_t at = *link; at >= 0; at = m->edges[at].next) {
    struct edge *edge = &m->edges[at];
    if (edge->address == address && edge->size == size) {
      int32_t *head = &m->nodes[m->current].edges;
      if (link != head) {
        *link = edge->next;
        edge->next = *head;
        *head = at;
      }
      return edge;
    }
    link = &edge->next;
  }
  return NULL;
}

/* A two-bit counter: 2 and 3 predict taken. */
static bool mispredicted(uint8_t *counter, bool taken) {
  bool predicted = *counter >= 2;
  if (taken && *counter < 3)
    ++*counter;
  if (!taken && *counter > 0)
    --*counter;
  return predicted != taken;
}

static bool holds_a_stop(const struct machine *m, uint32_t address, uint32_t size) {
  for (int32_t i = 0; i < m->stop_count; ++i) {
    if (m->stops[i] - address < size)
      return true;
  }
  return false;
}

static void leave_block(struct machine *m, const struct edge *edge) {
  int32_t branch = m->nodes[m->current].branch;
  m->cycles += (uint64_t)(int64_t)edge->leave_cycles;
  if (branch >= 0 && mispredicted(&m->predictors[branch], (edge->flags & EDGE_TAKEN) != 0)) {
    m->cycles += (uint64_t)m->mispredict_cycles;
  }
  m->left = 1;
}

/* What was counted since the last change belongs to the owner that had it until now. */
static void change_owner(struct machine *m, int32_t owner) {
  struct owner *was = &m->owners[m->owner];
  was->instructions += m->instructions - m->mark_instructions;
  was->cycles += m->cycles - m->mark_cycles;
  m->mark_instructions = m->instructions;
  m->mark_cycles = m->cycles;
  m->owner = owner;
}

static void begin_invocation(void *uc, struct machine *m) {
  m->measuring = 1;
  m->return_address = read_register(uc, m, m->lr_register) & ~1u;
  m->return_sp = read_register(uc, m, m->sp_register);
  m->owner = OWNER_MEASURED;
  m->order = 0;
  m->start_instructions = m->mark_instructions = m->instructions;
  m->start_cycles = m->mark_cycles = m->cycles;
  memset(m->owners, 0, (size_t)m->owner_count * sizeof *m->owners);
}

static bool stack_overflows(void *uc, struct machine *m, uint32_t drop) {
  uint32_t sp = read_register(uc, m, m->sp_register);
  uint32_t lowest = sp > drop ? sp - drop : 0;
  if (lowest < m->lowest_sp)
    m->lowest_sp = lowest;
  return lowest < m->stack_low;
}

/* Unicorn lets these accesses pass at any address, but LDM, LDRD, VLDR and their like trap. */
static bool unaligned_base(void *uc, struct machine *m, uint32_t bases) {
  for (int n = 0; bases != 0; ++n, bases >>= 1) {
    if ((bases & 1u) == 0)
      continue;
    uint32_t value = read_register(uc, m, n == 14 ? m->lr_register : m->r0_register + n);
    if (value & 3u) {
      m->fault_address = value;
      m->fault_size = (uint32_t)n;
      return true;
    }
  }
  return false;
}

static void enter_operator(struct machine *m, const struct node *node, const struct edge *edge) {
  /* A loop that jumps back to the operator's first instruction is no call. */
  if (!(edge->flags & EDGE_CALLS) && m->owner == node->owner)
    return;
  struct owner *entered = &m->owners[node->owner];
  if (entered->calls++ == 0)
    entered->order = ++m->order;
}

void emulator_on_block(void *uc, uint64_t address64, uint32_t size, struct machine *m) {
  uint32_t address = (uint32_t)address64;
  const struct edge *edge;
  if (m->step_bytes != 0) {
    if (m->stepped) {
      m->emu_stop(uc);
      return;
    }
    size = m->step_bytes;
  } else if (holds_a_stop(m, address, size)) {
    stop(uc, m, STOP_ADDRESS);
    return;
  }
  edge = find_edge(m, address, size);
  if (edge == NULL) {
    m->address = address;
    m->size = size;
    stop(uc, m, STOP_NEW_EDGE);
    return;
  }
  if (m->page_met) {
    m->page_met = 0;
    if (read_register(uc, m, m->xpsr_register) & IF_THEN_STATE) {
      stop(uc, m, STOP_IF_THEN);
      return;
    }
  }
  if (!m->left)
    leave_block(m, edge);
  m->address = address;
  if (m->measuring && address == m->return_address &&
      read_register(uc, m, m->sp_register) == m->return_sp) {
    change_owner(m, OWNER_MEASURED);
    m->measuring = 0;
    stop(uc, m, STOP_RETURNED);
    return;
  }
  if (m->instructions >= m->slice_end) {
    stop(uc, m, STOP_SLICE);
    return;
  }
  if (m->cycles >= m->tick_cycles) {
    stop(uc, m, STOP_TICK);
    return;
  }
  const struct node *node = &m->nodes[edge->node];
  if (((node->flags & NODE_CHECKS_STACK) || (edge->flags & EDGE_CHECKS_STACK)) &&
      stack_overflows(uc, m, node->stack_drop)) {
    stop(uc, m, STOP_STACK);
    return;
  }
  if ((node->flags & NODE_CHECKS_BASES) && unaligned_base(uc, m, node->bases)) {
    stop(uc, m, STOP_UNALIGNED);
    return;
  }
  if ((node->flags & NODE_ENTERS_MEASURED) && !m->measuring)
    begin_invocation(uc, m);
  if (m->measuring && node->owner != OWNER_INHERITED) {
    if (node->flags & NODE_ENTERS_OPERATOR)
      enter_operator(m, node, edge);
    if (node->owner != m->owner)
      change_owner(m, node->owner);
  }
  m->instructions += (uint64_t)node->instructions;
  m->cycles += (uint64_t)(int64_t)node->cycles;
  m->current = edge->node;
  m->left = 0;
  m->stepped = 1;
}

void emulator_on_interrupt(void *uc, uint32_t number, struct machine *m) {
  m->interrupt = number;
  stop(uc, m, STOP_INTERRUPT);
}

bool emulator_on_invalid_memory(void *uc, int type, uint64_t address, int size, int64_t value,
                                struct machine *m) {
  (void)uc;
  (void)value;
  m->fault_type = (uint32_t)type;
  m->fault_address = address;
  m->fault_size = (uint32_t)size;
  return false; /* not repaired: Unicorn ends the run with an error */
}

/* Stores to a page that may be executed are slow by a factor of ten, since Unicorn looks for code
 * that changes. So a page gets this right only when code is fetched from it. The memory's own rights
 * are checked by Unicorn all the same. The first access to a page within an if-then group leaves the
 * group's state behind, which would make what follows conditional: the next block looks for it. */
bool emulator_on_page(void *uc, uint64_t address, int access, struct tlb_entry *entry,
                      struct machine *m) {
  (void)uc;
  m->page_met |= access != ACCESS_FETCH;
  entry->address = address;
  entry->rights = RIGHT_READ | RIGHT_WRITE | (access == ACCESS_FETCH ? RIGHT_EXECUTE : 0);
  return true;
}
