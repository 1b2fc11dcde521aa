/* Destroys the nodes that collections return.
 *
 * A node is destroyed when neither a read (epoch.h) nor a view (reservation.h) can still use it.
 * This module combines the two, which do not know each other's rules.
 */
#ifndef REG_RECLAIM_H
#define REG_RECLAIM_H

#include "reclaim/epoch.h"
#include "reclaim/reservation.h"

/* Destroys a list of nodes that a collection has returned, so no read can find them. Nodes that a
 * view may still show are kept, and destroyed with the last such view. Call it with no lock
 * held. */
void reclaim_destroy(epoch_node *list, epoch_release release);

/* Take and release every lock of reclaim/ around a fork, to keep the child's copies consistent. */
void reclaim_before_fork(void);
void reclaim_after_fork(void);
/* In the child, before reclaim_after_fork. */
void reclaim_forget_other_threads(void);

#endif
