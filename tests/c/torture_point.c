/* Preemption at random, for builds with REG_TORTURE: most often none, now and then the rest of the time slice, seldom a long sleep. */
#include <sched.h>
#include <stdint.h>
#include <time.h>

void torture_point(void);

/* What the calling thread does at each of its points besides; NULL: nothing. */
extern _Thread_local void (*torture_deed)(void);
_Thread_local void (*torture_deed)(void);

void torture_point(void) {
    static _Thread_local uint32_t state;
    void (*deed)(void) = torture_deed;
    if (deed != NULL) {
        torture_deed = NULL; /* it has points, too */
        deed();
        torture_deed = deed;
    }
    if (state == 0) state = (uint32_t)(uintptr_t)&state | 1;
    state ^= state << 13; /* Marsaglia's xorshift, 2003 */
    state ^= state >> 17;
    state ^= state << 5;
    if (state % 65536 == 0)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    else if (state % 256 == 0)
        sched_yield();
}
