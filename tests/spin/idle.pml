/* A Spin model of the protocol in src_c/registry/idle.h, with the steps that the proof names. Two
 * processes count up and down, two wait for the count to reach 0. Each wait may be given up. Spin
 * explores every interleaving.
 *
 * The model asserts that a waiter is woken only if the count was 0 during its call, and only while
 * it waits. At the end, when nothing is in flight, no waiter is left that has not been woken.
 *
 * Each of these settings is a bug that Spin must find:
 *   IGNORES_BIT    a decrement never looks at WATCHED (P in place of D)
 *   LATE_BIT       A looks at the count first, and sets WATCHED in a second step
 *   LATE_LINK      A links the waiter after it has released LOCK
 *   LATE_LOCK      D takes LOCK after the count has reached 0
 *   TWO_WORDS      a decrement compares the count alone when it replaces the word
 *   STAYS          E leaves the waiter in the list
 */
#ifndef ROUNDS
#define ROUNDS 2 /* of each counting process */
#endif
#ifndef CALLS
#define CALLS 2 /* of each waiting process */
#endif
#define COUNTERS 2
#define WAITERS 2

byte count;
bool watched;
bool lock;
bool linked[WAITERS], woken[WAITERS];
bool waits[WAITERS];      /* the waiter is inside a call */
bool was_zero[WAITERS];   /* and the count was 0 at an instant of it */
byte done;

inline acquire() { atomic { !lock -> lock = true } }
inline release() { lock = false }

inline note_zero() {
    if :: count == 0 -> was_zero[0] = waits[0]; was_zero[1] = waits[1] :: else fi
}

/* Under LOCK, or in the bug LATE_LOCK after it. */
inline take_off() {
    w = 0;
    do
    :: w < WAITERS ->
        atomic {
            if
            :: linked[w] ->
                assert(waits[w]);
                assert(was_zero[w]);
                linked[w] = false;
                woken[w] = true
            :: else
            fi
        };
        w++
    :: else -> break
    od;
    w = 0
}

/* Replaces the word that was loaded, if it is unchanged. */
inline replace_word(success) {
    atomic {
        if
#ifdef TWO_WORDS
        :: count == seen ->
#else
        :: count == seen && watched == was_watched ->
#endif
            count--;
            if :: ends -> watched = false :: else fi;
            note_zero();
            success = true
        :: else -> success = false
        fi
    }
}

inline load_word() {
    atomic { seen = count; was_watched = watched };
    ends = (was_watched && seen == 1)
}

proctype counter() {
    byte rounds, seen, w;
    bool was_watched, ends, success;
    do
    :: rounds < ROUNDS ->
        rounds++;
        count++;
        do
        :: load_word();
#ifdef IGNORES_BIT
            ends = false;
#endif
#ifndef LATE_LOCK
            if
            :: ends -> break /* to D */
            :: else
            fi;
#endif
            replace_word(success);
            if :: success -> break :: else fi
        od;
#ifdef LATE_LOCK
        if
        :: ends -> acquire(); take_off(); release()
        :: else
        fi;
#else
        if
        :: ends ->
            acquire();
            do
            :: load_word();
                replace_word(success);
                if :: success -> break :: else fi
            od;
            if :: ends -> take_off() :: else fi;
            release()
        :: else
        fi;
#endif
        seen = 0; was_watched = false; ends = false; success = false
    :: else -> break
    od;
    done++
}

proctype waiter(byte me) {
    byte calls;
    bool is_idle;
    do
    :: calls < CALLS ->
        calls++;
        atomic { waits[me] = true; woken[me] = false; was_zero[me] = (count == 0) };
        acquire(); /* A */
#ifdef LATE_BIT
        is_idle = (count == 0);
        if :: !is_idle -> watched = true :: else fi;
#else
        atomic {
            is_idle = (count == 0);
            if :: !is_idle -> watched = true :: else fi
        };
#endif
#ifdef LATE_LINK
        release();
        if :: !is_idle -> linked[me] = true :: else fi;
#else
        if :: !is_idle -> linked[me] = true :: else fi;
        release();
#endif
        if
        :: is_idle -> assert(was_zero[me])
        :: !is_idle && woken[me]
        :: !is_idle -> /* E */
            acquire();
#ifndef STAYS
            linked[me] = false;
#endif
            release()
        :: !is_idle && done == COUNTERS ->
            assert(count == 0);
            assert(woken[me]) /* no wake-up is lost */
        fi;
        atomic { waits[me] = false; was_zero[me] = false; is_idle = false }
    :: else -> break
    od
}

init {
    atomic { run counter(); run counter(); run waiter(0); run waiter(1) }
}
