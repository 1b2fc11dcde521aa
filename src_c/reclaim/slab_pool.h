/* Where records lie: close together, in slabs (Bonwick, USENIX Summer 1994), not each where libc's malloc finds room.
 *
 * A choice reads a line of each candidate. Side by side they are fetched in less time, and malloc's gaps between blocks that are aligned to lines
 * would be a tenth of what a backend takes.
 *
 * One pool for the process, since a lease may keep a record longer than its registry lives. Everything is under one lock, which is held for a few
 * steps, by whoever adds a backend or drops the last hold of one. That a record is free is not told here: see record.h. Free records of a slab are
 * used again oldest first, and under AddressSanitizer nobody may touch them. A slab whose records are all free goes, unless no other has room just then.
 */
#ifndef REG_RECORD_POOL_H
#define REG_RECORD_POOL_H

#include "store/record.h"

#define RECORD_SLAB_BYTES ((size_t)128 * sizeof(record))

/* All zero. NULL when memory is out. O(1); it may wait for others who take or give. */
record *record_alloc(void);
void record_free(record *r);

/* Of all slabs. */
size_t record_pool_bytes(void);

/* Around a fork, so that no slab is copied half written. */
void record_pool_lock(void);
void record_pool_unlock(void);

#endif
