/* The protocol of src_c/reservation.h, step by step as its proof names them, for Spin: a reader, a thread that drops its
 * views, a writer that replaces and closes generations, and whoever destroys; every interleaving. The grace period of epoch.h is
 * taken as proved: here the writer waits for it.
 *
 * Memory is sequentially consistent: VIEWS is, and of the other words the proof shows what orders them. One registry, one
 * reservation for each generation (the reader's). What is asserted: no view shows what is freed, no freed generation is
 * touched, and when all is done everything that was replaced is freed, and every generation but the current one.
 *
 * Each of these is a bug that the checker must find:
 *   EARLY_LOAD     the reader loads CURRENT (V1) before it finds the node (R4)
 *   LATE_TAKE      the reader leaves (R5) before it counts its view (V3)
 *   LATE_WATCH     K2 looks at VIEWS first and sets WATCHED afterwards, in two steps
 *   NO_LOCK        the last view of a watched reservation is dropped like any other (D)
 *   NO_HEIR        L frees what an older generation has to keep
 *   EARLY_SEAL     a generation is sealed when it is closed, without a grace period
 *   NO_LIST        whoever destroys keeps nothing
 *   LOOK_AGAIN     whether these were the last views (D) is read after they were subtracted
 *   EARLY_END      a generation ends though another thread is in L with it
 */
#ifndef READS
#define READS 2
#endif
#ifndef WRITES
#define WRITES 2
#endif
#define NODES (WRITES + 1)
#define GENERATIONS (WRITES + 2)
#define NONE 255

byte root = 0;
byte current = 0;            /* CURRENT: generations are numbered from 0, in order */
bool reading = false;        /* the slot: what the writer waits for */
byte reads_begun = 0;        /* so that it waits for those reads alone that it has to */
byte born[NODES];
byte closed[WRITES] = NONE;  /* the generation that each write has closed */
byte begun[WRITES];          /* the reads that had begun when it retired something */
byte retired;
bool freed[NODES];
byte kept[NODES] = NONE;     /* the generation that keeps it */
byte departing[NODES] = NONE; /* the process that has taken it off, in L */
byte leaving[GENERATIONS];
byte views[GENERATIONS];
bool watched[GENERATIONS], sealed[GENERATIONS], ended[GENERATIONS];
byte view[READS] = NONE;     /* what each view shows */
byte counts_in[READS] = NONE;       /* and the generation that it counts in */
bool lock;
byte done;

inline acquire() { atomic { !lock -> lock = true } }
inline release() { lock = false }

/* K2, under the lock. */
inline watch(g, held) {
    assert(!ended[g]);
#ifdef LATE_WATCH
    held = views[g] > 0;
    watched[g] = watched[g] || held
#else
    atomic { held = views[g] > 0; watched[g] = watched[g] || held }
#endif
}

/* The newest generation with views from `g` down; NONE where there is none. */
inline first_with_views(g, held) {
    held = false;
    do
    :: g != NONE && !ended[g] -> watch(g, held); if :: held -> break :: else -> g = (g == 0 -> NONE : g - 1) fi
    :: g != NONE && ended[g] -> g = (g == 0 -> NONE : g - 1)
    :: g == NONE -> break
    od
}

/* L, with the lock: takes off all that is kept, and lets the lock go between one node and the next. */
inline let_go(g, heir, n, held) {
    watch(g, held);
    if
    :: !held ->
        leaving[g]++;
        d_step {
            n = 0;
            do
            :: n < NODES -> if :: kept[n] == g -> kept[n] = NONE; departing[n] = _pid :: else fi; n++
            :: else -> break
            od
        }
        n = 0;
        do
        :: n < NODES ->
            if
            :: departing[n] == _pid ->
                heir = (g == 0 -> NONE : g - 1);
                first_with_views(heir, held);
                departing[n] = NONE;
#ifdef NO_HEIR
                freed[n] = true;
#else
                if
                :: heir != NONE && born[n] <= heir -> kept[n] = heir
                :: else -> freed[n] = true
                fi;
#endif
                release();
                acquire()
            :: else
            fi;
            n++
        :: else -> break
        od;
        leaving[g]--;
        watch(g, held);
#ifdef EARLY_END
        if
        :: sealed[g] && !held -> assert(leaving[g] == 0); ended[g] = true
        :: else
        fi
#else
        if
        :: sealed[g] && !held && leaving[g] == 0 -> ended[g] = true
        :: else
        fi
#endif
    :: else
    fi
}

proctype reader() {
    byte g, node, reads;
    do
    :: reads < READS ->
        atomic { reading = true; reads_begun++ }    /* R1 to R3 */
#ifdef EARLY_LOAD
        g = current;
#endif
        node = root;                                /* R4 */
        assert(!freed[node]);
#ifndef EARLY_LOAD
        g = current;                                /* V1, V2 */
#endif
#ifdef LATE_TAKE
        reading = false;
#endif
        atomic { assert(!ended[g]); views[g]++; counts_in[reads] = g; view[reads] = node } /* V3 */
        reading = false;                            /* R5 */
        reads++
    :: else -> break
    od;
    done++
}

/* In any order. */
proctype dropper() {
    byte at, dropped, g, heir, n;
    bool held, slow;
    do
    :: dropped < READS ->
        at = 0;
        do
        :: at < READS && view[at] != NONE -> break
        :: at = (at + 1) % READS
        od;
        assert(!freed[view[at]]);                   /* it is used until it is dropped */
        g = counts_in[at];
        atomic {                                    /* D */
            assert(!ended[g]);
#ifdef NO_LOCK
            slow = false;
#else
            slow = watched[g] && views[g] == 1;
#endif
            if
            :: !slow -> views[g]--; view[at] = NONE
            :: else
            fi
        }
        if
        :: slow ->
            acquire();
            assert(!ended[g]);
            atomic { views[g]--; view[at] = NONE; slow = views[g] == 0 }
#ifdef LOOK_AGAIN
            watched[g] = watched[g] && views[g] > 0;
            slow = views[g] == 0;
#else
            if :: slow -> watched[g] = false :: else fi;
#endif
            if
            :: slow -> let_go(g, heir, n, held)
            :: else
            fi;
            release()
        :: else
        fi;
        dropped++
    :: else -> break
    od;
    done++
}

/* Closes the current generation, if it has views, and replaces what readers find. */
proctype writer() {
    byte writes;
    do
    :: writes < WRITES ->
        if
        :: views[current] > 0 -> closed[writes] = current; current = current + 1 /* C */
        :: skip
        fi;
        born[writes + 1] = current;                 /* B */
        root = writes + 1;                          /* W1 */
        begun[writes] = reads_begun;
        writes++;
        retired = writes
    :: else -> break
    od;
    done++
}

inline seal(g, heir, n, held) {
    acquire();
    sealed[g] = true;
    let_go(g, heir, n, held);
    release()
}

/* Destroys what was retired, in order, once the read that was open then has ended (W2 to W5). */
proctype collector() {
    byte node, g, heir, n;
    bool held;
    do
    :: node < WRITES ->
        retired > node;
#ifdef EARLY_SEAL
        if :: closed[node] != NONE -> seal(closed[node], heir, n, held) :: else fi;
#endif
        !reading || reads_begun != begun[node];
        acquire();
#ifdef NO_LIST
        g = NONE;
#else
        g = current;                                /* K1 */
        first_with_views(g, held);
#endif
        if
        :: g != NONE && born[node] <= g -> kept[node] = g /* K3 */
        :: else -> freed[node] = true
        fi;
        release();
#ifndef EARLY_SEAL
        if :: closed[node] != NONE -> seal(closed[node], heir, n, held) :: else fi;
#endif
        node++
    :: else -> break
    od;
    done++
}

/* When nobody has a view, all that was replaced is free, and every closed generation has ended. */
proctype judge() {
    byte node, g;
    done == 4;
    do
    :: node < WRITES -> assert(freed[node] && kept[node] == NONE && departing[node] == NONE); node++
    :: else -> break
    od;
    do
    :: g < current -> assert(ended[g]); g++
    :: else -> break
    od
}

init { atomic { run reader(); run dropper(); run writer(); run collector(); run judge() } }
