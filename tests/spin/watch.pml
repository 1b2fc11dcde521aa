/* A Spin model of the protocols in src_c/registry/watch.c and waiters.h: the queue of a watch, its
 * overflow, its opening and closing, and the sleep of its consumers. The steps have the names that
 * the arguments there give them. The processes are writers, consumers of one watch, a task that
 * waits for the same watch but never runs once it is woken, and with CLOSES a thread that closes
 * the watch. Spin explores every interleaving.
 *
 * The model's memory is sequentially consistent, as PUSHED, IS_LAGGING, IS_CLOSED and IS_WAITED
 * are. A change is the version of its write, and a snapshot is the version at which it is read. The
 * lock of the waiters is held for one atomic step.
 *
 * The assertions are that each consumer sees growing versions, that each change is given once, that
 * at most LIMIT are unread, and that an event is filled when it is taken. When all writers are done
 * and all consumers sleep, every change was given or is in a snapshot. With CLOSES, every consumer
 * ends; otherwise Spin reports an invalid end state, as it does for any deadlock.
 *
 * Each of these settings is a bug that the checker must find:
 *   EARLY_COUNT     PUSHED counts the event before it is filled
 *   NO_LAG          a change that does not fit is dropped unsaid
 *   KEEP_UNREAD     what is unread stays when a consumer catches up
 *   EARLY_VERSION   a consumer that catches up reads the version before it has the lock
 *   LATE_CLEAR      it clears IS_LAGGING when it has released the lock
 *   LATE_LINK       the watch enters the list after the lock for its version was released
 *   NO_SECOND_LOOK  a waiter does not look again (A2)
 *   LATE_FLAG       a waiter sets IS_WAITED after it has looked again
 *   EARLY_LOOK      a writer loads IS_WAITED (B2) before it feeds the watch (B1)
 *   WAKE_ONE        a writer wakes one waiter only
 *   CLOSE_QUIETLY   closing wakes nobody (with CLOSES)
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef WRITES
#define WRITES 2
#endif
#ifndef CONSUMERS
#define CONSUMERS 1
#endif
#ifndef LIMIT
#define LIMIT 1
#endif
#define VERSIONS (WRITERS * WRITES + 1)
#define STOPPED 0 /* the waiter that never runs; consumers are numbered from 1 */
#define NONE 255

byte committed;
bool writer_lock, reading, is_linked, is_lagging, is_closed;
byte pushed, popped;           /* numbers of events */
byte event[LIMIT] = NONE;      /* event number n is at n % LIMIT */
byte opened_at = NONE;
byte caught_up;                /* the version of the latest snapshot */
bool given[VERSIONS];
bool is_waited;
bool listed[CONSUMERS + 1], woken[CONSUMERS + 1], sleeping[CONSUMERS + 1];
byte writers_done;

inline acquire(lock) { atomic { !lock -> lock = true } }
inline release(lock) { lock = false }

/* Takes the waiters off and wakes them. */
inline take_waiters(i) {
    d_step {
        i = 0;
        do
        :: i <= CONSUMERS ->
            if
            :: listed[i] ->
                listed[i] = false;
                woken[i] = true;
#ifdef WAKE_ONE
                break
#endif
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0;
        is_waited = false;
        do
        :: i <= CONSUMERS -> is_waited = is_waited || listed[i]; i++
        :: else -> break
        od;
        i = 0
    }
}

/* Under the writer lock: drops what is unread, unless a consumer holds READING. */
inline try_drop() {
    if
    :: atomic { !reading -> reading = true }
        popped = pushed;
        release(reading)
    :: reading
    fi
}

inline feed() {
    if
    :: !is_linked
    :: is_linked && is_lagging -> try_drop()
    :: is_linked && !is_lagging ->
        if
        :: pushed - popped >= LIMIT ->
#ifndef NO_LAG
            is_lagging = true;
            try_drop()
#else
            skip
#endif
        :: else ->
#ifdef EARLY_COUNT
            pushed++;
            event[(pushed - 1) % LIMIT] = committed;
#else
            event[pushed % LIMIT] = committed;
            pushed++;                               /* B1 */
#endif
            assert(pushed - popped <= LIMIT)
        fi
    fi
}

proctype writer() {
    byte writes, i;
    bool must_wake;
    do
    :: writes < WRITES ->
        acquire(writer_lock);
        committed++;
#ifdef EARLY_LOOK
        must_wake = is_waited;
#endif
        feed();
        release(writer_lock);
#ifndef EARLY_LOOK
        must_wake = is_waited;                      /* B2 */
#endif
        if
        :: must_wake -> take_waiters(i)
        :: else
        fi;
        must_wake = false;
        writes++
    :: else -> break
    od;
    writers_done++
}

inline open() {
    acquire(writer_lock);
    opened_at = committed;
#ifdef LATE_LINK
    release(writer_lock);
    is_linked = true
#else
    is_linked = true;
    release(writer_lock)
#endif
}

/* Under READING. */
inline catch_up(version) {
#ifdef EARLY_VERSION
    version = committed;
    acquire(writer_lock);
#else
    acquire(writer_lock);
    version = committed;
#endif
#ifndef KEEP_UNREAD
    popped = pushed;
#endif
#ifdef LATE_CLEAR
    release(writer_lock);
    is_lagging = false;
#else
    is_lagging = false;
    release(writer_lock);
#endif
    caught_up = version
}

/* `version` is that of the change or the snapshot, or NONE. */
inline take(me, version, is_snapshot) {
    version = NONE;
    is_snapshot = false;
    acquire(reading);
    if
    :: is_closed
    :: !is_closed && is_lagging -> catch_up(version); is_snapshot = true
    :: !is_closed && !is_lagging ->
        if
        :: pushed != popped ->
            version = event[popped % LIMIT];
            event[popped % LIMIT] = NONE;
            assert(version != NONE);
            popped++
        :: else
        fi
    fi;
    release(reading)
}

#define IS_READY (pushed != popped || is_lagging || is_closed)

inline wait_for_change(me) {
    woken[me] = false;
#ifdef LATE_FLAG
    listed[me] = true;
#else
    atomic { listed[me] = true; is_waited = true }  /* A1 */
#endif
#ifndef NO_SECOND_LOOK
    if
    :: IS_READY -> atomic { listed[me] = false; woken[me] = true } /* A2: do not sleep */
    :: else
    fi;
#endif
#ifdef LATE_FLAG
    is_waited = is_waited || listed[me];
#endif
    sleeping[me] = true;
#ifndef CLOSES
end_asleep:
#endif
    woken[me];
    sleeping[me] = false
}

proctype consumer(byte me) {
    byte version, last;
    bool is_snapshot;
    if
    :: me == 1 -> open()
    :: else -> opened_at != NONE
    fi;
    last = opened_at;
    do
    :: true ->
        take(me, version, is_snapshot);
        if
        :: version != NONE && !is_snapshot ->
            d_step {
                assert(version > last && !given[version]);
                assert(CONSUMERS > 1 || version == last + 1);
                given[version] = true;
                last = version
            }
        :: version != NONE && is_snapshot -> assert(version >= last); last = version
        :: version == NONE && is_closed -> break
        :: version == NONE && !is_closed -> wait_for_change(me)
        fi
    od
}

/* A task of an event loop that was stopped: it waits, and does nothing once it is woken. */
proctype stopped_task() {
    opened_at != NONE ->
    atomic { listed[STOPPED] = !IS_READY; is_waited = is_waited || listed[STOPPED] }
}

proctype closer() {
    byte i;
    opened_at != NONE ->
    acquire(reading);
    acquire(writer_lock);
    is_closed = true;
    is_linked = false;
    popped = pushed;
    release(writer_lock);
    release(reading);
#ifndef CLOSE_QUIETLY
    if
    :: is_waited -> take_waiters(i)
    :: else
    fi
#endif
}

#define SLEEPS(i) (sleeping[i] && !woken[i])
#if CONSUMERS == 2
#define ALL_SLEEP (SLEEPS(1) && SLEEPS(2))
#else
#define ALL_SLEEP SLEEPS(1)
#endif

proctype final_check() {
    byte v;
end_check:
    writers_done == WRITERS && ALL_SLEEP ->
    assert(!is_closed && !is_lagging && pushed == popped);
    v = opened_at + 1;
    do
    :: v < VERSIONS -> assert(given[v] || v <= caught_up); v++
    :: else -> break
    od
}

init {
    byte i;
    atomic {
        do
        :: i < WRITERS -> run writer(); i++
        :: else -> break
        od;
        i = 1;
        do
        :: i <= CONSUMERS -> run consumer(i); i++
        :: else -> break
        od;
        run stopped_task();
#ifdef CLOSES
        run closer()
#else
        run final_check()
#endif
    }
}
