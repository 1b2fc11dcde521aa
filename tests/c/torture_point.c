/* Random preemption, for builds with REG_TORTURE. At most points nothing happens. At one point in
 * 256 the thread yields its processor, and at one in 65,536 it sleeps. */
#include <sched.h>
#include <stdint.h>
#include <time.h>

void torture_point(void);

/* A function that is called at each point that this thread reaches, unless it is NULL. */
extern _Thread_local void (*torture_hook)(void);
_Thread_local void (*torture_hook)(void);

void torture_point(void) {
    static _Thread_local uint32_t state;
    void (*hook)(void) = torture_hook;
    if (hook != NULL) {
        torture_hook = NULL; /* the hook itself contains points */
        hook();
        torture_hook = hook;
    }
    if (state == 0) state = (uint32_t)(uintptr_t)&state | 1;
    state ^= state << 13; /* xorshift (Marsaglia 2003) */
    state ^= state >> 17;
    state ^= state << 5;
    if (state % 65536 == 0)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    else if (state % 256 == 0)
        sched_yield();
}
