/* The list of all registries, which makes fork safe: the child gets every registry in a whole
 * state, with its locks free. */
#ifndef REG_FORK_H
#define REG_FORK_H

#include "registry/layout.h"

/* Installs the fork handlers of the process, once. False when memory is out. */
bool fork_start(void);

/* Adds a new registry to the list; takes out one that is about to be freed. */
void fork_add_registry(reg_registry *reg);
void fork_remove_registry(reg_registry *reg);

#endif
