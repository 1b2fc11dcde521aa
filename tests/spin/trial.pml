/* A Spin model of ejections and trials (src_c/registry/availability.c), with the steps that the
 * proof there names. Callers choose one backend, perhaps settle an outcome, and release it. An
 * operator ejects or restores it at any time. Spin explores every interleaving.
 *
 * The model's memory is sequentially consistent, as the word `pending`, TRANSITION and the
 * committed version are. Time is OVER, the newest ejection whose time is over: it only grows, and
 * may do so whenever a choice reads the clock, even between two steps of the write that ejects.
 *
 * The assertions are:
 *   1. a choice that takes effect was right at T. So it takes the backend as an ordinary one only
 *      if it is not ejected, be the choice careful or not;
 *   2. at most one trial of an ejection is out;
 *   3. a release clears no TRIAL but its own, and a lease that has ended does not keep its TRIAL,
 *      unless a write is about to clear it;
 *   4. a request that was chosen before an ejection decides nothing after it;
 *   5. when nobody holds a lease, there is no TRIAL.
 *
 * Each of these settings is a bug that Spin must find:
 *   NO_HOLD           the write does not hold the place while it commits (no W2)
 *   HOLD_UNSEEN       W2 does not raise the version of the word
 *   KEEP_VERSION      neither W2 nor W4 raises the version, so a claimed word comes back
 *   EARLY_CLEAR       the write clears TRIAL (W4) before it commits (W3)
 *   LATE_TRANSITION   the write stores TRANSITION (W1) after it has committed and cleared TRIAL
 *   TWO_STEPS         a choice sets TRIAL after it has taken the word
 *   CLEAR_ANY         a release clears TRIAL without a look at TRANSITION
 *   COMPARE_ONCE      it looks at TRANSITION only before its loop
 *   SETTLE_ANY        an outcome is settled without a look at the version of the last ejection
 *   NO_RECHECK        a choice does not check the standing after T
 *   CARELESS          a choice that finds a write at work reads the newest flags
 */
#ifndef CALLERS
#define CALLERS 2
#endif
#ifndef CALLS
#define CALLS 2 /* of each caller */
#endif
#ifndef WRITES
#define WRITES 1 /* of the operator */
#endif
#define VERSIONS (2 + CALLERS * CALLS + WRITES)
#define OPERATOR CALLERS
#define NOBODY 255

byte committed = 1, choices_changed = 1, transition = 1;
byte ejection; /* EJECTION: the version of the last one. 0: none */
byte ejected_by[VERSIONS]; /* in the states: the ejection that is in force, or 0 */
byte standing = 1, flag; /* one word: the version of the newest standing, and its ejection */
byte over;
bool locked;

/* The word `pending`. */
byte count, version;
bool trial, claimed;

/* For the assertions. */
byte out[VERSIONS]; /* trials in flight, of each ejection */
byte owner = NOBODY; /* whose TRIAL it is */
byte in_force; /* the version of the last ejection that has been committed */

inline raise() {
    version++;
    claimed = false
}

inline lock() { atomic { !locked -> locked = true } }

inline unlock() { locked = false }

/* W1 to W4, under the writer lock. The backend is ejected or restored. */
inline write(me, ejects) {
    w = committed + 1;
    choices_changed = w;
#ifndef LATE_TRANSITION
    transition = w; /* W1 */
#endif
#ifndef NO_HOLD
    atomic { /* W2 */
        trial = true;
        owner = me;
#if !defined(HOLD_UNSEEN) && !defined(KEEP_VERSION)
        raise()
#endif
    }
#endif
    atomic {
        ejected_by[w] = (ejects -> w : 0);
        standing = w;
        flag = ejected_by[w];
        if :: ejects -> ejection = w :: else fi
    }
#ifdef EARLY_CLEAR
    atomic { trial = false; owner = NOBODY; raise() }
#endif
    atomic { committed = w; in_force = ejection } /* W3 */
#ifndef EARLY_CLEAR
    atomic { /* W4 */
        trial = false;
        owner = NOBODY;
#ifndef KEEP_VERSION
        raise()
#endif
    }
#endif
#ifdef LATE_TRANSITION
    transition = w;
#endif
    w = 0
}

inline read_word() {
    atomic {
        count_seen = count;
        version_seen = version;
        trial_seen = trial;
        claimed_seen = claimed
    }
}

#define IS_SEEN                                                       \
    (count == count_seen && version == version_seen && trial == trial_seen && \
     claimed == claimed_seen)

inline forget() {
    atomic {
        v = 0; e = 0; since = 0; careful = false; must_check = false; right = false;
        count_seen = 0; version_seen = 0; trial_seen = false; claimed_seen = false
    }
}

proctype caller(byte me) {
    byte calls, v, e, w, since, count_seen, version_seen;
    bool careful, must_check, right, trial_seen, claimed_seen;
call:
    if :: calls == CALLS -> goto done :: else -> calls++ fi;
again:
    v = committed;
    careful = (choices_changed > v);
    read_word();
    atomic {
#ifdef CARELESS
        e = (standing <= v || careful -> flag : ejected_by[v]);
#else
        e = (standing <= v -> flag : ejected_by[v]);
#endif
        if
        :: e > over -> /* the clock says that its time is over, or the backend is refused */
            if :: over = e :: forget(); goto call fi
        :: else
        fi;
        if :: e != 0 && trial_seen -> forget(); goto call :: else fi
    }
    atomic { /* the claim */
        if
        :: IS_SEEN -> claimed = true; claimed_seen = true
        :: else -> forget(); goto again
        fi
    }
    atomic { /* T */
        must_check = (committed != v || !careful);
        since = in_force;
        right = (ejected_by[committed] == e)
    }
    must_check = (must_check && choices_changed > v);
#ifndef NO_RECHECK
    if :: must_check && standing > v -> forget(); goto again :: else fi;
#endif
    atomic { /* the take */
        if
        :: IS_SEEN ->
            assert(right);
            count++;
            claimed = false;
            if
            :: e != 0 ->
                assert(out[e] == 0);
                out[e]++;
#ifndef TWO_STEPS
                trial = true;
                owner = me
#endif
            :: else
            fi
        :: else -> forget(); goto again
        fi
    }
#ifdef TWO_STEPS
    if :: e != 0 -> atomic { trial = true; owner = me } :: else fi;
#endif

    /* E1 */
    if
    :: lock();
        if
#ifdef SETTLE_ANY
        :: true ->
#else
        :: v >= ejection ->
#endif
            assert(since == in_force);
            if
            :: write(me, true)
            :: ejected_by[committed] != 0 -> write(me, false)
            fi
        :: else
        fi;
        unlock()
    :: skip /* the outcome changes nothing */
    fi;
    atomic { /* E2 */
        count--;
        raise();
        if :: e != 0 -> out[e]-- :: else fi
    }
    if :: e == 0 -> goto ended :: else fi;
    /* E3 */
#ifdef COMPARE_ONCE
    if :: transition > v -> goto ended :: else fi;
#endif
    do
    :: read_word();
        if :: !trial_seen -> break :: else fi;
#if !defined(CLEAR_ANY) && !defined(COMPARE_ONCE)
        if :: transition > v -> break :: else fi;
#endif
        atomic {
            if
            :: IS_SEEN ->
                assert(owner == me);
                trial = false;
                owner = NOBODY;
                raise();
                break
            :: else
            fi
        }
    od;
    assert(owner != me || transition > v);
ended:
    forget();
    goto call;
done:
    skip
}

proctype operator() {
    byte writes, w;
    do
    :: writes < WRITES ->
        writes++;
        lock();
        if
        :: write(OPERATOR, true)
        :: ejected_by[committed] != 0 -> write(OPERATOR, false)
        fi;
        unlock()
    :: else -> break
    od
}

init {
    byte i;
    atomic {
        if :: ejected_by[1] = 1; flag = 1; ejection = 1; in_force = 1 :: skip fi;
        for (i : 0 .. CALLERS - 1) { run caller(i) }
        run operator()
    }
    _nr_pr == 1;
    assert(count == 0 && !trial)
}
