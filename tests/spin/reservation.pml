/* The protocol of src_c/reservation.h, step by step as its proof names them, for Spin: a reader whose views another thread drops, and one who replaces
 * and destroys, every interleaving. The grace period of epoch.h is taken as proved: here the writer waits for it.
 *
 * Memory is sequentially consistent: HOLDERS and KEPT are, and of the other words the proof shows in d. what orders them. One owner, one thread that
 * reads; when a reservation is free again is one step of HOLDERS, and here the reader looks for it. The use of freed memory is one assertion; what is left when all is done, another.
 *
 * Each of these is a bug that the checker must find:
 *   EARLY_CLOCK    the reader loads the clock V1 before it finds the node
 *   LATE_TAKE      the reader leaves (R5) before it takes the reservation
 *   NO_LOOK        whoever keeps a node does not load HOLDERS again (K3)
 *   ANY_EPOCH      a reservation is held on with another FIRST while views hold it
 *   NO_LIST        whoever destroys keeps nothing
 */
#ifndef READS
#define READS 2
#endif
#ifndef WRITES
#define WRITES 2
#endif
#define NODES (WRITES + 1)
#ifndef RESERVATIONS
#define RESERVATIONS 2 /* of the one reader; each is free again before it is taken for another epoch */
#endif
#define NONE 255

byte clock = 1;
byte root = 0;
byte slot = 0;              /* of the reader; 0: not reading */
byte born[NODES];           /* B */
byte stamp[NODES];
bool freed[NODES];
byte kept[NODES] = NONE;    /* the reservation that keeps it */
byte first[RESERVATIONS], last[RESERVATIONS], holders[RESERVATIONS];
byte view[READS] = NONE;    /* what each view shows */
byte held_by[READS] = NONE; /* and the reservation that it holds */
bool lock;
byte done;

#if WRITES == 2
#define KEEPS_ANY(r) (kept[0] == r || kept[1] == r || kept[2] == r)
#else
#define KEEPS_ANY(r) (kept[0] == r || kept[1] == r || kept[2] == r || kept[3] == r)
#endif

inline acquire() { atomic { !lock -> lock = true } }
inline release() { lock = false }

/* K1 to K3, under the lock: ends with `node` kept or freed. */
inline keep(node, r, found) {
    r = 0; found = false;
    do
    :: r < RESERVATIONS && !found ->
        if
#ifdef NO_LIST
        :: holders[r] > 0 && first[r] <= stamp[node] && false -> skip
#else
        :: holders[r] > 0 && first[r] <= stamp[node] && born[node] <= last[r] -> /* K1 */
            kept[node] = r;                                                     /* K2 */
#ifdef NO_LOOK
            found = true
#else
            if
            :: holders[r] > 0 -> found = true                                   /* K3 */
            :: else -> kept[node] = NONE
            fi
#endif
#endif
        :: else
        fi;
        r++
    :: else -> break
    od;
    if
    :: !found -> freed[node] = true
    :: else
    fi
}

proctype reader() {
    byte e, c, node, r, reads, mine = NONE;
    do
    :: reads < READS ->
        e = clock;                                  /* R1 */
        slot = e;                                   /* R2, R3 */
#ifdef EARLY_CLOCK
        c = clock;
#endif
        node = root;                                /* R4 */
        assert(!freed[node]);
#ifndef EARLY_CLOCK
        c = clock;                                  /* V1 */
#endif
#ifdef LATE_TAKE
        slot = 0;
#endif
        if                                          /* V2 */
        :: mine != NONE && first[mine] == e -> skip
        :: else ->
#ifdef ANY_EPOCH
            r = 0;
#else
            r = 0;
            do
            :: holders[r] > 0 || KEEPS_ANY(r) -> r++; assert(r < RESERVATIONS)
            :: else -> break
            od;
#endif
            mine = r;
            first[mine] = e
        fi;
        last[mine] = c;
        atomic { holders[mine]++; held_by[reads] = mine; view[reads] = node } /* V3 */
        slot = 0;                                   /* R5 */
        reads++
    :: else -> break
    od;
    done++
}

proctype dropper() {
    byte at, r, node, other;
    bool found;
    do
    :: at < READS ->
        view[at] != NONE;
        assert(!freed[view[at]]);                   /* it is used until it is dropped */
        r = held_by[at];
        atomic { holders[r]--; view[at] = NONE; found = holders[r] == 0 } /* D1 */
        if
        :: found && KEEPS_ANY(r) ->                /* D2 */
            acquire();
            if
            :: holders[r] == 0 ->
                node = 0;
                do
                :: node < NODES ->
                    if
                    :: kept[node] == r -> kept[node] = NONE; keep(node, other, found)
                    :: else
                    fi;
                    node++
                :: else -> break
                od
            :: else
            fi;
            release()
        :: else
        fi;
        at++
    :: else -> break
    od;
    done++
}

proctype writer() {
    byte writes, old, r;
    bool found;
    do
    :: writes < WRITES ->
        born[writes + 1] = clock;                   /* B */
        old = root;
        root = writes + 1;                          /* W1 */
        atomic { stamp[old] = clock; clock++ }      /* W2 */
        slot == 0 || slot > stamp[old];             /* W4, W5: no reader can hold it any more */
        acquire();
        keep(old, r, found);
        release();
        writes++
    :: else -> break
    od;
    done++
}

/* The clock goes on for other registries, too. */
proctype others() { clock++; done++ }

/* When nobody holds anything, all that was replaced is free. */
proctype judge() {
    byte node;
    done == 4;
    do
    :: node < WRITES -> assert(freed[node] && kept[node] == NONE); node++
    :: else -> break
    od
}

init { atomic { run reader(); run dropper(); run writer(); run others(); run judge() } }
