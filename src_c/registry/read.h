/* A read that other modules share. */
#ifndef REG_READ_H
#define REG_READ_H

#include "registry/layout.h"

/* Views of all backends at a version that was loaded in this epoch, like reg_get_all. */
reg_status read_fleet_at(reg_registry *reg, uint64_t version, reg_views *views);

#endif
