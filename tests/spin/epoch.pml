/* A Spin model of the reclamation protocol in src_c/reclaim/epoch.h. The steps have the names that
 * the proof gives them. There are two readers and two writers; Spin explores every interleaving.
 *
 * Memory is total store order as far as it matters here: a reader's store to its slot waits in its
 * store buffer until it drains by itself or the heavy fence drains it. Loads, and the writers'
 * read-modify-writes, act at once. The assertion is that no reader uses freed memory.
 *
 * Each of these settings is a bug that the checker must find:
 *   NO_FENCE       the writer omits the heavy fence W3 EARLY_EPOCH    the stamp W2 is read before
 *   the unlinking W1 EARLY_FREE     a node is freed one epoch early: t <= m EARLY_LOAD     a reader
 *   loads the pointer before it enters
 *
 * With REFUSAL, the kernel may refuse the heavy fence to a writer at any moment, and refuses it
 * from then on. The model has no time: its delay ends when each reader's store buffer has been
 * empty at some moment since HEAVY was cleared. The bugs here are:
 *   NO_DELAY       writers continue to free nodes, after a full fence of their own
 *   EARLY_FLAG     a reader loads HEAVY before it stores its slot
 *   NO_SWITCH      HEAVY stays set, so readers still use no full fence
 */
#ifndef READERS
#define READERS 2
#endif
#define WRITERS 2
#ifndef READS
#define READS 2 /* of each reader */
#endif
#ifndef WRITES
#define WRITES 2 /* of each writer */
#endif
#define NODES (WRITES + 1) /* of each registry: the first, and one for each write */
#define NOTHING 255
#ifndef REFUSAL
#define HAS_BARRIER true
#define IS_SETTLED false
#else
#define HAS_BARRIER drains
#ifdef NO_DELAY
#define IS_SETTLED true
#else
#define IS_SETTLED settled
#endif
#endif

byte clock = 1;
/* Two registries, because a single one has a lock that would exclude the other writer. They share
 * the clock and the slots. */
byte root[WRITERS];
byte slot[READERS];       /* the value in memory; 0: not reading */
byte buffer[READERS] = 255; /* a store to the slot that waits in the store buffer */
bool freed[WRITERS * NODES];
byte stamp[WRITERS * NODES]; /* 0: not retired */
bool heavy = true, cleared, settled;

/* A reader's store waits until its previous store has drained. */
inline store(me, value) {
    atomic { buffer[me] == NOTHING -> buffer[me] = value }
}

inline drain(one) {
    if
    :: buffer[one] != NOTHING -> slot[one] = buffer[one]; buffer[one] = NOTHING
    :: else
    fi
}

proctype drainer(byte one) {
end: do
    :: atomic { buffer[one] != NOTHING -> drain(one) }
    od
}

/* R3c: a full fence if HEAVY is clear. */
inline light_fence(me, is_heavy) {
    if
    :: is_heavy
    :: else -> atomic { drain(me) }
    fi
}

/* The delay: `settled` is set once every store buffer has been empty since HEAVY was cleared. */
proctype delay() {
    byte one;
end: cleared;
    do
    :: one < READERS -> buffer[one] == NOTHING; one++
    :: else -> break
    od;
    settled = true
}

proctype reader(byte me) {
    byte now, node, reads, which;
    bool is_heavy;
    do
    :: reads < READS ->
        if :: which = 0 :: which = 1 fi;
        now = clock;                             /* R1 */
#ifdef EARLY_LOAD
        node = which * NODES + root[which];
#endif
#ifdef EARLY_FLAG
        is_heavy = heavy;
#endif
        store(me, now);                          /* R2 */
#ifdef REFUSAL
#ifndef EARLY_FLAG
        is_heavy = heavy;                        /* R3b */
#endif
        light_fence(me, is_heavy);               /* R3c; without REFUSAL, a compiler fence only */
#endif
#ifndef EARLY_LOAD
        node = which * NODES + root[which];      /* R4 */
#endif
        assert(!freed[node]);
        assert(!freed[node]);                    /* still during the read */
        store(me, 0);                            /* R5 */
        reads++
    :: else -> break
    od
}

proctype writer(byte me) {
    byte least, one, now, writes;
    bool drains, granted = true;
    do
    :: writes < WRITES ->
#ifdef EARLY_EPOCH
        now = clock;
        root[me] = writes + 1;
        atomic { stamp[me * NODES + writes] = now; clock++ }
#else
        root[me] = writes + 1;                   /* W1 */
        atomic { stamp[me * NODES + writes] = clock; clock++ } /* W2 */
#endif
#ifdef REFUSAL
        /* `granted`: the kernel still grants the barrier to this writer. */
        drains = heavy;
        if
        :: drains && granted
        :: drains ->
            atomic {
                granted = false;
                drains = false;
                cleared = true;
#ifndef NO_SWITCH
                heavy = false
#endif
            }
        :: else
        fi;
#endif
#ifndef NO_FENCE
        atomic {                                 /* W3; a writer's own fence drains no reader */
            one = (HAS_BARRIER -> 0 : READERS);
            do
            :: one < READERS -> drain(one); one++
            :: else -> break
            od
        }
#endif
        /* W4: one slot after the other. If nothing may be freed, `least` is 0. */
        atomic {
            least = (HAS_BARRIER || IS_SETTLED -> NOTHING : 0);
            one = (least == 0 -> READERS : 0)
        }
        do
        :: one < READERS ->
            atomic {
                if
                :: slot[one] != 0 && slot[one] < least -> least = slot[one]
                :: else
                fi;
                one++
            }
        :: else -> break
        od;
        atomic {                                 /* W5: no other process frees these */
            one = 0;
            do
            :: one <= writes ->
#ifdef EARLY_FREE
                if :: stamp[me * NODES + one] <= least -> freed[me * NODES + one] = true :: else fi;
#else
                if :: stamp[me * NODES + one] < least -> freed[me * NODES + one] = true :: else fi;
#endif
                one++
            :: else -> break
            od;
            now = 0; one = 0; least = 0; drains = false
        }
        writes++
    :: else -> break
    od
}

init {
    atomic {
        run reader(0); run drainer(0);
#if READERS > 1
        run reader(1); run drainer(1);
#endif
        run writer(0); run writer(1);
#ifdef REFUSAL
        run delay()
#endif
    }
}
