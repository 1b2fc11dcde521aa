/* Makes fork safe: in the child every registry is consistent and its locks are free. For this, it
 * keeps a list of all registries. */
#ifndef REG_FORK_H
#define REG_FORK_H

#include "registry/layout.h"

/* Installs the fork handlers of the process, once. False if out of memory. */
bool fork_start(void);

/* Adds a new registry to the list. */
void fork_add_registry(reg_registry *reg);
/* Removes a registry that is about to be freed, and that its settings have lost. */
void fork_remove_registry(reg_registry *reg);

/* Visits every registry. One that is about to be freed may be among them. */
void fork_each_registry(void (*visit)(reg_registry *reg, void *context), void *context);

#endif
