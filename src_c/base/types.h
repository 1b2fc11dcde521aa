/* The public types that the whole core uses: keys, statuses, models, policies. registry.h includes
 * them, so a binding sees them as part of the facade. */
#ifndef REG_TYPES_H
#define REG_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A string of the caller: its hash, its bytes (which may include NUL) and its length. Equal strings
 * have equal hashes. */
typedef struct reg_key {
    uint64_t hash;
    const char *data;
    size_t length;
} reg_key;

typedef enum reg_status {
    REG_OK,
    REG_NOT_FOUND,      /* no backend with this id */
    REG_DUPLICATE,      /* the id is registered */
    REG_INSTANCE_TAKEN, /* another backend holds the mDNS instance */
    REG_OVERFLOW,       /* the counter is at its limit */
    REG_NO_MEMORY, /* nothing changed; also where too much waits for reclamation behind a reader that stalls (epoch.h) */
    REG_NONE_AVAILABLE, /* no backend may be chosen */
    REG_CHANGED,        /* the definition is not the expected one any more: read it and try again */
    REG_WOULD_BLOCK,    /* the choice is long, or has to wait: ask again with `may_block` set */
    REG_STATUS_COUNT
} reg_status;

/* What a backend is known to be. The binding maps its own enumeration to these. */
typedef enum reg_health { REG_HEALTHY, REG_UNHEALTHY, REG_UNKNOWN, REG_DRAINING } reg_health;

enum { REG_VISION = 1, REG_TOOLS = 2, REG_JSON_MODE = 4 };

typedef struct reg_model {
    reg_key id;
    reg_key name;
    uint32_t context_length;
    uint32_t max_output_tokens;
    bool has_max_output;
    uint8_t capabilities;
    void *object;
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

/* Why a backend may not be chosen; of several reasons the first. */
typedef enum reg_reason {
    REG_ELIGIBLE,
    REG_EXCLUDED,
    REG_IS_UNHEALTHY,
    REG_IS_DRAINING,
    REG_IS_UNKNOWN,
    REG_NO_VISION,
    REG_NO_TOOLS,
    REG_NO_JSON_MODE,
    REG_SHORT_CONTEXT,
    REG_FULL,
    REG_REASON_COUNT
} reg_reason;

#endif
