#include "base/random.h"

#include <time.h>
#include <unistd.h>

_Thread_local uint64_t random_state REG_TLS_MODEL;

uint64_t random_seed(void) {
    static _Atomic uint64_t seeds;
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    uint64_t moment = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
    uint64_t seed =
        random_mix(moment) ^ random_mix((uint64_t)getpid() << 32 | (add_seq_cst(&seeds, 1) + 1));
    return seed != 0 ? seed : 1;
}
