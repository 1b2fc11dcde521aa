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
    REG_LINE_FULL,      /* no backend may be chosen, and too many wait for one already */
    REG_CHANGED,        /* a definition is no longer the expected one: read it and try again */
    REG_WAITS,          /* no backend may be chosen yet */
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
    REG_AFFINITY,
    REG_LEAST_TOKENS,
    REG_HOT_COLD,
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
    REG_COOLING_DOWN,
    REG_EJECTED,
    REG_ON_TRIAL, /* its time is over, and the one request that may try it is out */
    REG_WAITING,  /* others wait for it */
    REG_FULL,
    REG_REASON_COUNT
} reg_reason;

/* How a request has ended. */
typedef enum reg_outcome {
    REG_SUCCEEDED,
    REG_FAILED,
    REG_ABANDONED, /* says nothing about the backend */
    REG_BACK_OFF,  /* the server has said when to come back */
} reg_outcome;

/* A clock that is moved by hand. */
typedef struct reg_clock reg_clock;

/* Times are in nanoseconds. */
#define REG_NEVER UINT64_MAX

/* What a registry is created with. */
typedef struct reg_settings {
    reg_clock *clock;     /* NULL: the system's */
    uint64_t latency_ttl; /* how long a sample of the latency counts; REG_NEVER: for ever */
    bool ejects;          /* if false, all down to `panic` is unused */
    uint32_t consecutive_failures; /* so many failures in a row eject; 0: never */
    uint32_t min_requests;         /* this many outcomes in a window eject, */
    double failure_rate;           /* if at least this share of them failed; negative: never */
    uint64_t window;
    uint64_t base;       /* the time of a first ejection; it doubles with each one in a row, */
    uint64_t max;        /* up to this */
    uint64_t slow_start; /* the time in which the weight grows to its whole; 0: at once */
    uint32_t trials;     /* successes that restore */
    double panic;        /* at most this share is left: ejections are ignored; negative: never */
    /* The bound of AFFINITY: see choose/affinity.h. */
    double affinity_load;  /* 1 to 1,000; negative: there is no bound */
    double affinity_floor; /* 0 to 2**32 - 1 */
    /* Of prefixes, whether it ejects or not. */
    uint32_t block_tokens;  /* how many tokens a block stands for; at least 1 */
    uint32_t prefix_blocks; /* known for each backend and model, below 2**31; 0: none */
    uint64_t max_waiting;   /* waiters for each model; UINT64_MAX: no limit */
} reg_settings;

/* A string as an array of code points, each in `width` bytes: 1, 2 or 4. The caller owns it. */
typedef struct reg_text {
    const void *characters;
    size_t length; /* characters */
    uint8_t width;
    bool is_ascii; /* the width is 1, and all are below 128 */
} reg_text;

/* Integers in memory, each in `width` bytes: 1, 2, 4 or 8, of any alignment. */
typedef struct reg_numbers {
    const char *first;
    ptrdiff_t stride; /* bytes from one to the next */
    size_t length;
    uint8_t width;
    bool is_signed;
} reg_numbers;

/* The state of a hash of bytes: see base/hash.h. */
typedef struct reg_hash {
    uint64_t lanes[4];
    uint64_t length; /* bytes so far */
    unsigned char rest[32];
} reg_hash;

/* A prompt while it is hashed. */
typedef struct reg_prefix {
    reg_hash hash;
    uint64_t block; /* characters or numbers in a block */
    uint64_t left;  /* how many the block that has begun still lacks; at least 1 */
} reg_prefix;

/* Bytes that UTF-8 does not have. They stand before a part of a message. */
typedef enum reg_mark { REG_CONTENT_MARK = 0xFE, REG_ROLE_MARK = 0xFF } reg_mark;

#endif
