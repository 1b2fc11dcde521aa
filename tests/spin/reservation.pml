/* A Spin model of the protocol in src_c/reclaim/reservation.h. The steps have the names that the
 * proof gives them. The processes are a reader, a thread that drops the reader's views, a writer
 * that replaces nodes and closes generations, and a collector that destroys what was retired. Spin
 * explores every interleaving. The grace period of epoch.h is taken as proved: the collector waits
 * for it here.
 *
 * The model's memory is sequentially consistent. In the core VIEWS is, and the proof shows what
 * orders the other words. There is one registry, with one reservation (the reader's) in each
 * generation. The assertions are that no view shows a freed node, and that no process touches a
 * freed generation. At the end, every node that was replaced is freed, and so is every generation
 * except for the current one.
 *
 * Each of these settings is a bug that the checker must find:
 *   EARLY_LOAD     the reader loads CURRENT (V1) before it finds the node (R4)
 *   LATE_TAKE      the reader leaves (R5) before it counts its view (V3)
 *   LATE_WATCH     K2 reads VIEWS and sets WATCHED in two steps
 *   NO_LOCK        the last view of a watched reservation is dropped like any other (D)
 *   NO_HEIR        L frees nodes that an older generation must keep
 *   EARLY_SEAL     a generation is sealed when it is closed, without a grace period
 *   NO_LIST        the collector keeps nothing
 *   TWO_STEPS      D subtracts the views and checks in a second step whether they were the last
 *   EARLY_END      a generation ends while another thread is in L with it
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
bool reading = false;        /* whether the reader's slot is set */
byte reads_begun = 0;        /* shows the collector which read it must wait for */
byte born[NODES];
byte closed[WRITES] = NONE;  /* the generation that each write closed */
byte begun[WRITES];          /* `reads_begun` when the write retired its node */
byte retired;
bool freed[NODES];
byte kept[NODES] = NONE;     /* the generation that keeps it */
byte taken_off[NODES] = NONE; /* the process that has taken the node off, in L */
byte handovers[GENERATIONS];
byte views[GENERATIONS];
bool watched[GENERATIONS], sealed[GENERATIONS], ended[GENERATIONS];
byte view[READS] = NONE;     /* the node that each view shows */
byte counts_in[READS] = NONE;       /* the generation that counts the view */
bool lock;
byte done;

inline acquire() { atomic { !lock -> lock = true } }
inline release() { lock = false }

/* K2, under LOCK. */
inline watch(g, held) {
    assert(!ended[g]);
#ifdef LATE_WATCH
    held = views[g] > 0;
    watched[g] = watched[g] || held
#else
    atomic { held = views[g] > 0; watched[g] = watched[g] || held }
#endif
}

/* Sets `g` to the newest generation with views from `g` down, or to NONE. */
inline first_with_views(g, held) {
    held = false;
    do
    :: g != NONE && !ended[g] ->
        watch(g, held);
        if
        :: held -> break
        :: else -> g = (g == 0 -> NONE : g - 1)
        fi
    :: g != NONE && ended[g] -> g = (g == 0 -> NONE : g - 1)
    :: g == NONE -> break
    od
}

/* L, under LOCK: takes off all that is kept. Releases LOCK between nodes. */
inline hand_over(g, heir, n, held) {
    watch(g, held);
    if
    :: !held ->
        handovers[g]++;
        d_step {
            n = 0;
            do
            :: n < NODES ->
                if
                :: kept[n] == g -> kept[n] = NONE; taken_off[n] = _pid
                :: else
                fi;
                n++
            :: else -> break
            od
        }
        n = 0;
        do
        :: n < NODES ->
            if
            :: taken_off[n] == _pid ->
                heir = (g == 0 -> NONE : g - 1);
                first_with_views(heir, held);
                taken_off[n] = NONE;
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
        handovers[g]--;
        watch(g, held);
#ifdef EARLY_END
        if
        :: sealed[g] && !held -> assert(handovers[g] == 0); ended[g] = true
        :: else
        fi
#else
        if
        :: sealed[g] && !held && handovers[g] == 0 -> ended[g] = true
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

/* Drops the views in any order. */
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
        assert(!freed[view[at]]);                   /* the view is used until it is dropped */
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
#ifdef TWO_STEPS
            watched[g] = watched[g] && views[g] > 0;
            slow = views[g] == 0;
#else
            if :: slow -> watched[g] = false :: else fi;
#endif
            if
            :: slow -> hand_over(g, heir, n, held)
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

/* Closes the current generation if it has views, and replaces the node that readers find. */
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
    hand_over(g, heir, n, held);
    release()
}

/* Destroys the retired nodes in order, each after the read that was open when it was retired (W2 to
 * W5). */
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

/* When no view exists, every node that was replaced is freed, and every closed generation has
 * ended. */
proctype final_check() {
    byte node, g;
    done == 4;
    do
    :: node < WRITES -> assert(freed[node] && kept[node] == NONE && taken_off[node] == NONE); node++
    :: else -> break
    od;
    do
    :: g < current -> assert(ended[g]); g++
    :: else -> break
    od
}

init { atomic { run reader(); run dropper(); run writer(); run collector(); run final_check() } }
