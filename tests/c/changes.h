/* A client for writes of many changes, which take effect at one instant, and for looks at what they
 * have changed. client.h has the calls for single backends. */
#ifndef CHANGES_H
#define CHANGES_H

#include "client.h"

enum { MANY = 128, MODELS = 4 };

typedef struct step {
    reg_change_kind kind;
    offer offer;
    int number; /* of its definition */
    uint64_t serial;
    const void *expected;
} step;

/* What `reg_apply` needs for its steps. */
typedef struct written {
    reg_edit edits[MANY];
    reg_variant *variants[MANY][MODELS];
    size_t held[MANY];
    size_t count;
} written;

/* Called during the apply at every point of a torture build, on the thread that writes. */
extern void (*during_apply)(void);
#ifdef REG_TORTURE
extern _Thread_local void (*torture_hook)(void);
#define SET_HOOK(hook) (torture_hook = (hook))
#else
#define SET_HOOK(hook) ((void)(hook))
#endif

/* Begins a write: holds the models. Returns false if out of memory. */
bool prepare_write(reg_registry *reg, written *w, const step *steps, size_t count);
/* Ends a write that was not applied: drops what it holds. */
void take_back(reg_registry *reg, written *w);

/* Makes the changes at one instant. `fleet`: the version at which they were planned. */
reg_status apply_at(reg_registry *reg, const step *steps, size_t count, uint64_t fleet);
reg_status apply(reg_registry *reg, const step *steps, size_t count);
reg_status apply_one(reg_registry *reg, reg_change_kind kind, offer o, int number);

/* The view of a backend. Its objects may be gone. */
bool see(reg_registry *reg, const char *id, reg_view *view, int *number);
/* The number of the definition that has the instance, or -1. */
int holder_of(reg_registry *reg, const char *instance);
bool has_url(reg_registry *reg, const char *url);

/* Adds a request in flight, or subtracts one if `by` is negative. */
void count_one(reg_registry *reg, const char *id, int by);
reg_status drain(reg_registry *reg, const char *id, uint64_t serial, bool on);

#endif
