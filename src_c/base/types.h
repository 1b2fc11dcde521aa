/* The public types that the whole core uses: keys, statuses, models and policies. They are part of
 * the facade, because registry.h includes this file. */
#ifndef REG_TYPES_H
#define REG_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A string that belongs to the caller. It may contain NUL. Equal strings must have equal hashes. */
typedef struct reg_key {
    uint64_t hash;
    const char *data;
    size_t length;
} reg_key;

typedef enum reg_status {
    REG_OK,
    REG_NOT_FOUND,      /* no backend has this id */
    REG_DUPLICATE,      /* the id is registered already */
    REG_INSTANCE_TAKEN, /* another backend has this mDNS instance */
    REG_OVERFLOW,       /* the counter is at its limit */
    /* Out of memory, or a stalled reader holds back too much garbage (epoch.h). Nothing has
     * changed. */
    REG_NO_MEMORY,
    REG_NONE_AVAILABLE, /* no backend may be chosen */
    REG_CHANGED,        /* a definition is no longer the expected one: read it and try again */
    REG_WOULD_BLOCK,    /* the choice would be long or would wait: retry with `may_block` set */
    REG_STATUS_COUNT
} reg_status;

/* The last known health of a backend. The binding maps its own enumeration to these. */
typedef enum reg_health { REG_HEALTHY, REG_UNHEALTHY, REG_UNKNOWN, REG_DRAINING } reg_health;

/* The kinds of changes of a fleet. The binding maps Python's `ChangeKind` to these, in this order.
 */
typedef enum reg_change_kind {
    REG_ADDED,
    REG_REMOVED,
    REG_REPLACED, /* another server took the place of the old one */
    REG_UPDATED,  /* another definition of the same server */
    REG_STATUS_CHANGED,
    REG_DRAINING_CHANGED,
    REG_AVAILABILITY_CHANGED,
    REG_OVERFLOWED, /* a watch has lost its place */
    REG_CHANGE_KIND_COUNT
} reg_change_kind;

/* Bits of a model's capabilities. */
enum { REG_VISION = 1, REG_TOOLS = 2, REG_JSON_MODE = 4 };

typedef struct reg_model {
    reg_key id;
    reg_key name;
    uint32_t context_length;
    uint32_t max_output_tokens;
    bool has_max_output;
    uint8_t capabilities;
    void *object; /* opaque: the binding's own object for this model */
} reg_model;

typedef enum reg_policy {
    REG_LEAST_PENDING,
    REG_POWER_OF_TWO,
    REG_LOWEST_LATENCY,
    REG_ROUND_ROBIN,
    REG_RANDOM,
    REG_PRIORITY,
    REG_SMART,
    REG_POLICY_COUNT
} reg_policy;

/* The reason why a backend may not be chosen. If several reasons apply, the first one in this order
 * is reported. */
typedef enum reg_reason {
    REG_ELIGIBLE,
    REG_EXCLUDED,
    REG_IS_UNHEALTHY,
    REG_IS_DRAINING, /* by its status; by the operator's decision, it comes after the next one */
    REG_IS_UNKNOWN,
    REG_NO_VISION,
    REG_NO_TOOLS,
    REG_NO_JSON_MODE,
    REG_SHORT_CONTEXT,
    REG_FULL,
    REG_REASON_COUNT
} reg_reason;

#endif
