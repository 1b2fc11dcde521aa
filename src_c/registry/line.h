/* The line of a registry: who waits for a place, and in which order they get one. What happens to
 * them is in choose/hand_over.c, with the argument why nobody waits beside a free place.
 *
 * LINE, a lock in the settings (settings.h), guards all of it. It is the outermost lock of a
 * registry: a choice that is made under LINE may take the turns lock and the writer lock. It is
 * never taken by a thread that holds one of these, nor with the GIL held.
 *
 *   line    a heap of models   by the arrival of each model's first waiter
 *   model   a heap of kinds    by the first waiter of each kind
 *   kind    a heap of waiters  by priority, then by arrival
 *
 * Waiters of one kind can take the same places: their requests have the same model, requirements
 * and ids. So if one of them is refused, all are, and a hand-over tries each kind once. Policies
 * are not compared: each of them takes a place that is free if there is any.
 *
 * So within a model the lowest priority number goes first, and then who came first; between models
 * who came first. A kind that was refused is set aside until the end of the hand-over, and no
 * longer counts: it is passed over. */
#ifndef REG_LINE_H
#define REG_LINE_H

#include "base/heap.h"
#include "registry.h"
#include "store/settings.h"

typedef struct line_model {
    size_t index; /* in the line's heap */
    struct line_model *previous, *next;
    heap kinds;     /* those that are not set aside */
    size_t waiting; /* waiters */
    bool is_in_heap;
    reg_key id; /* its bytes follow */
} line_model;

typedef struct line_kind {
    size_t index; /* in the model's heap */
    line_model *model;
    struct line_kind *previous, *next; /* in the list of all kinds */
    struct line_kind *aside;           /* in the list of those that are set aside */
    heap waiters;                      /* never empty */
    uint64_t hash;                     /* of the needs */
    bool is_aside;
} line_kind;

typedef struct waiting_line {
    heap models; /* that have kinds which are not set aside */
    line_model *all_models;
    line_kind *all_kinds;
    line_kind *aside; /* refused in this hand-over */
    size_t waiting;   /* waiters */
    uint64_t last_arrival;
    uint64_t deadline;               /* the first one of all refusals, in the registry's time */
    uint64_t told;                   /* who was told a later deadline has a nudge on its way */
    uint32_t given_back;             /* references, by the call that has LINE */
    const reg_place_waiter *entrant; /* whose own call this is, so nobody needs to wake it */
    const line_kind *tried;          /* whose waiter is trying to get a place */
    bool is_handing_over;
} waiting_line;

static inline bool line_is_waited(const settings *s) {
    return load_seq_cst(&((settings *)s)->is_waited);
}

/* ---- under LINE ---- */

reg_place_waiter *line_first_of(const line_kind *k);
reg_place_waiter *line_waiter_of(const line_kind *k, size_t index);
/* The kind whose turn it is, or NULL. */
line_kind *line_next(const waiting_line *l);

/* Adds a waiter, and sets the flag. An arrival that is not 0 is kept. False if out of memory. While
 * kinds are set aside, nobody may be added, and only waiters of other kinds may be removed. */
bool line_add(waiting_line *l, settings *s, reg_place_waiter *w);
/* Removes a waiter that is in the line. */
void line_remove(waiting_line *l, settings *s, reg_place_waiter *w);

void line_set_aside(waiting_line *l, line_kind *k);
void line_bring_back(waiting_line *l);

/* How many wait for a model. */
size_t line_waiting(const waiting_line *l, const reg_key *model_id);

/* Frees what is left of a line without waiters. */
void line_end(waiting_line *l);

/* In the child of a fork, whose only thread is this one: the waiters of the other threads are gone.
 * LINE is held. */
void line_after_fork_in_child(waiting_line *l, settings *s);

#endif
