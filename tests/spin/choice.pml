/* The choice of src_c/select.c by least pending among two backends, step by step as its proof names them, for Spin: two that acquire, one that
 * selects, one that counts up and down, one that reads, every interleaving.
 *
 * What is asserted when a choice succeeds: at its instant T the chosen one had the count that the choice was made by, and the other no
 * less; and nobody has been told the chosen one's count since.
 *
 * Each of these is a bug that the checker must find:
 *   ONE_PASS       the counts are not looked at again
 *   NO_CLAIM       the count is taken if the word is the same, without a claim before T
 *   CLAIM_STAYS    who reads a count leaves the claim on
 *   SAME_VERSION   a decrement leaves the version as it is
 *   ONE_LOOK       a selection does not look at the chosen one's word again
 */
#define BACKENDS 2
#define CHOOSERS 2
#ifndef COUNTS
#define COUNTS 2 /* how often the one that counts does */
#endif
#ifndef READS
#define READS 1
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2 /* of each choice; then it gives up, as nothing is claimed about how soon one succeeds */
#endif
#define NOBODY 9

byte count[BACKENDS], version[BACKENDS];
bool claimed[BACKENDS];

/* Of each choice since its T: whom it chose, and whether anybody was told that one's count. */
byte chosen[CHOOSERS] = NOBODY;
bool right[CHOOSERS], told[CHOOSERS];

inline tell(which) {
    who = 0;
    do
    :: who < CHOOSERS -> if :: chosen[who] == which -> told[who] = true :: else fi; who++
    :: else -> who = 0; break
    od
}

/* T: what is true now, and from now on nobody has been told. */
inline note(me, c) {
    chosen[me] = c;
    told[me] = false;
    right[me] = (count[c] == seen[c] && count[1 - c] >= seen[c])
}

inline look(which) {
    atomic { seen[which] = count[which]; versions[which] = version[which]; was_claimed[which] = claimed[which] }
}

inline forget(me) {
    atomic { chosen[me] = NOBODY; right[me] = false; told[me] = false; seen[0] = 0; seen[1] = 0; versions[0] = 0; versions[1] = 0;
             was_claimed[0] = false; was_claimed[1] = false; first = 0; c = 0; again = 0 }
}

inline pass_and_pick() {
    if :: first = 0 :: first = 1 fi; /* wherever the round begins */
    look(first);
    look(1 - first);
    if
    :: seen[first] <= seen[1 - first] -> c = first
    :: else -> c = 1 - first
    fi
}

/* The second pass: the decrements' sum. */
inline pass_again() {
    again = version[first];
    again = again + version[1 - first]
}

proctype acquirer(byte me) {
    byte seen[BACKENDS], versions[BACKENDS], first, c, again, attempts;
    bool was_claimed[BACKENDS];
try:
    if :: attempts == ATTEMPTS -> goto done :: else -> attempts++ fi;
    pass_and_pick();
#ifndef NO_CLAIM
    atomic {
        if
        :: count[c] == seen[c] && version[c] == versions[c] && claimed[c] == was_claimed[c] -> claimed[c] = true; was_claimed[c] = true
        :: else -> goto again_from_start
        fi
    }
#endif
    atomic { note(me, c) }
#ifndef ONE_PASS
    pass_again();
    if :: again == versions[0] + versions[1] :: else -> goto again_from_start fi;
#endif
    atomic {
        if
        :: count[c] == seen[c] && version[c] == versions[c] && claimed[c] == was_claimed[c] ->
            assert(right[me]);
            assert(!told[me]);
            count[c]++;
            claimed[c] = false;
            goto taken
        :: else -> goto again_from_start
        fi
    }
again_from_start:
    forget(me);
    goto try;
taken:
    forget(me);
done:
    skip
}

proctype selector(byte me) {
    byte seen[BACKENDS], versions[BACKENDS], first, c, again, attempts;
    bool was_claimed[BACKENDS];
try:
    if :: attempts == ATTEMPTS -> goto done :: else -> attempts++ fi;
    pass_and_pick();
    if
    :: was_claimed[c] -> atomic { if :: claimed[c] -> claimed[c] = false; version[c]++ :: else fi; forget(me) }; goto try
    :: else
    fi;
    atomic { note(me, c) }
    pass_again();
    if :: again == versions[0] + versions[1] :: else -> forget(me); goto try fi;
#ifndef ONE_LOOK
    atomic {
        if
        :: count[c] == seen[c] && version[c] == versions[c] && !claimed[c]
        :: else -> forget(me); goto try
        fi
    }
#endif
    assert(right[me]);
    forget(me);
done:
    skip
}

proctype counter() {
    byte which, steps, who;
    do
    :: steps < COUNTS ->
        if :: which = 0 :: which = 1 fi;
        if
        :: atomic { count[which] < 3 -> count[which]++; tell(which) }
        :: atomic { count[which] > 0 ->
                count[which]--;
                claimed[which] = false;
#ifndef SAME_VERSION
                version[which]++;
#endif
                tell(which) }
        fi;
        steps++
    :: else -> break
    od
}

proctype reader() {
    byte which, steps, who;
    do
    :: steps < READS ->
        if :: which = 0 :: which = 1 fi;
        atomic {
#ifndef CLAIM_STAYS
            if :: claimed[which] -> claimed[which] = false; version[which]++ :: else fi;
#endif
            tell(which)
        }
        steps++
    :: else -> break
    od
}

init {
    atomic {
        if :: count[0] = 0 :: count[0] = 1 fi;
        if :: count[1] = 0 :: count[1] = 1 fi;
        run acquirer(0); run counter(); run reader();
#ifdef SELECTING
        run selector(1)
#else
        run acquirer(1)
#endif
    }
}
