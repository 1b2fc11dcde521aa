/* A Spin model of the protocol in src_c/choose/hand_over.c, with the steps that the proof names. A
 * backend has room for one request. One process holds the place at first and gives it back. Two
 * wait for it, in one kind; the second may give up at any time, because it is cancelled or because
 * its time is up. A plain request does not wait. Spin explores every interleaving.
 *
 * The model asserts the cap, the order, that a plain request which finds the flag set overtakes
 * nobody, and that only requests that were used count. The first waiter never gives up: if its
 * wake-up is lost, or the place, Spin finds a state in which nothing can happen any more.
 *
 * Each of these settings is a bug that Spin must find:
 *   FORGETS        B2 is left out
 *   EARLY_LOOK     B2 comes before B1
 *   LATE_FLAG      A1 sets the flag after A2
 *   CLEARS         whoever leaves the line clears the flag, though another one waits
 *   LOSES_PLACE    a waiter that was served and gives up does not give the place back
 *   QUIET_RETURN   it gives the place back, and hands it over to nobody
 *   COUNTS         it counts as a request
 *   OVERTAKES      a plain request does not ask who waits
 *   UNFAIR         a hand-over serves who came last
 *   NO_LOCK        a waiter enters the line and tries without LINE
 */
#define WAITERS 2

byte in_flight = 1, total, used;
bool line, is_waited;
byte arrivals, arrival[WAITERS]; /* 0: not in the line */
bool served[WAITERS];

inline lock() { atomic { !line -> line = true } }
inline unlock() { line = false }

/* Takes the place if it is free, in one step. */
inline take(success) {
    atomic {
        success = (in_flight == 0);
        if :: success -> in_flight++ :: else fi;
        assert(in_flight <= 1)
    }
}

#define NOBODY (arrival[0] == 0 && arrival[1] == 0)
#define IS_FIRST(w) (arrival[w] != 0 && (arrival[1 - w] == 0 || arrival[w] < arrival[1 - w]))
#ifdef UNFAIR
#define IS_NEXT(w) (arrival[w] != 0 && (arrival[1 - w] == 0 || arrival[w] > arrival[1 - w]))
#else
#define IS_NEXT(w) IS_FIRST(w)
#endif

inline leave_line(w) {
    arrival[w] = 0;
#ifdef CLEARS
    is_waited = false
#else
    is_waited = !NOBODY
#endif
}

/* Under LINE. */
inline hand_over() {
    do
    :: NOBODY -> break
    :: !NOBODY ->
        next = (IS_NEXT(0) -> 0 : 1);
        take(success);
        if
        :: success ->
            assert(IS_FIRST(next));
            leave_line(next);
            served[next] = true
        :: else -> break
        fi
    od;
    success = false
}

/* B1 and B2. */
inline give_back() {
#ifdef EARLY_LOOK
    success = is_waited;
    in_flight--;
#else
    in_flight--;
    success = is_waited;
#endif
#ifdef FORGETS
    success = false;
#endif
    if
    :: success -> lock(); hand_over(); unlock()
    :: else
    fi;
    success = false
}

inline use() {
    atomic { total++; used++ };
    give_back()
}

proctype holder() {
    byte next;
    bool success;
    use()
}

inline enter(me) {
#ifndef NO_LOCK
    lock();
#endif
    arrivals++;
    arrival[me] = arrivals; /* A1 */
#ifndef LATE_FLAG
    is_waited = true;
#endif
    if
    :: arrival[1 - me] == 0 -> /* A2 */
        take(success);
        if
        :: success -> leave_line(me); served[me] = true
        :: else
        fi;
        success = false
    :: else /* b. */
    fi;
#ifdef LATE_FLAG
    is_waited = !NOBODY;
#endif
#ifndef NO_LOCK
    unlock()
#endif
}

proctype patient() {
    byte next;
    bool success;
    enter(0);
    served[0];
    use()
}

proctype impatient() {
    byte next;
    bool success, has_place;
    enter(1);
    if
    :: served[1] -> use()
    :: true -> /* it gives up */
        lock();
        has_place = served[1];
        if
        :: !has_place -> leave_line(1)
        :: has_place ->
#ifdef COUNTS
            total++;
#endif
#ifndef LOSES_PLACE
            in_flight--;
#ifndef QUIET_RETURN
            hand_over()
#endif
#endif
        fi;
        unlock()
    fi
}

proctype plain() {
    byte next;
    bool success, is_done;
    if
    :: !is_waited -> take(success)
    :: else ->
        lock();
        do
        :: is_done -> break
        :: !is_done && in_flight == 1 -> is_done = true /* refused: its pick finds no place */
        :: !is_done && in_flight == 0 ->
            if
#ifndef OVERTAKES
            :: !NOBODY -> hand_over() /* and choose again */
#endif
            :: else ->
                take(success);
                assert(!success || NOBODY);
                is_done = true
            fi
        od;
        unlock()
    fi;
    if
    :: success -> success = false; use()
    :: else
    fi
}

init {
    atomic { run holder(); run patient(); run impatient(); run plain() };
    _nr_pr == 1;
    assert(in_flight == 0);
    assert(total == used);
    assert(!is_waited && NOBODY)
}
