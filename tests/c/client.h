/* A client of the core, like the binding. It counts its objects and marks the freed ones, makes
 * keys, and wraps each operation of the facade in one call. */
#ifndef CLIENT_H
#define CLIENT_H

#include "registry.h"

typedef struct object {
    unsigned magic;
    int number;
} object;

enum { ALIVE = 0x600D0B1E };

extern _Atomic long objects_alive;

object *object_new(int number);
void object_release(void *released);
/* Ends the program unless `pointer` is a living object. */
object *object_of(void *pointer);

reg_key key_of(const char *text);

typedef struct offer {
    const char *id;
    const char *url;
    const char *instance; /* NULL: none */
    const char *models[4];
    uint32_t context_length;     /* of all its models */
    uint8_t capabilities;        /* of all its models */
    uint32_t max_pending;        /* 0: no cap */
    uint64_t max_pending_tokens; /* 0: no cap */
    uint16_t weight;             /* 0: 1 */
    int32_t priority;
} offer;

/* A fleet of `count` healthy backends with the ids b0, b1, ... and the model m. Backend i has the
 * definition number i. `shape` may change each offer before it is added (NULL: no change). */
reg_registry *client_fleet(int count, void (*shape)(offer *o, int number));
reg_status client_add(reg_registry *reg, const offer *o, int number);
reg_status client_remove(reg_registry *reg, const char *id, reg_view *last);
/* Replaces the current definition by one with the models and the instance of the offer. */
reg_status client_redefine(reg_registry *reg, const offer *o, int number);
reg_status client_health(reg_registry *reg, const char *id, reg_health health, int error);
/* The numbers of the definitions that serve the model (NULL: of all), in the order of registration.
 * Returns how many there are, and ends the program if anything is out of order. */
size_t client_query(reg_registry *reg, const char *model_id, int *numbers, size_t room);

reg_request client_request(const char *model_id, reg_policy policy);
/* The number of the chosen backend's definition, or -1 if none is available. */
int client_acquire(reg_registry *reg, reg_request request, reg_lease *lease);
int client_select(reg_registry *reg, reg_request request);
/* Releases the lease if it is still active, and drops it. Returns false if it was already released,
 * or if nothing was in flight. */
bool client_return(reg_lease *lease, const uint32_t *sample);
/* The statistics; drops what they collect. */
reg_stats client_stats(reg_registry *reg);
uint32_t client_in_flight(reg_registry *reg, const char *id);
uint64_t client_tokens(reg_registry *reg, const char *id);

void client_free(reg_registry *reg);

#endif
