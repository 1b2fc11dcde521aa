#include "registry/work.h"

lock_stripes work_locks = LOCK_STRIPES;
