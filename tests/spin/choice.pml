/* A model of the choice in src_c/choose/select.c, for Spin: LEAST_PENDING among two backends, with
 * the steps that the proof names. Two processes acquire, or one acquires and one selects. One
 * counts up and down, and one reads. Spin tries every interleaving.
 *
 * When a choice succeeds, the model asserts two things. At the instant T of the choice, the chosen
 * backend had the count that the choice was based on, and the other one had at least as many. And
 * since T no process has learned the chosen one's count.
 *
 * Each of these defines plants a bug that Spin must find:
 *   ONE_PASS       the counts are not rechecked
 *   NO_CLAIM       the count is taken if the word is unchanged, without a claim before T
 *   CLAIM_STAYS    a process that reads a count leaves the claim on
 *   SAME_VERSION   a decrement does not change the version
 *   ONE_LOOK       a selection does not recheck the word of the chosen one
 */
#define BACKENDS 2
#define CHOOSERS 2
#ifndef COUNTS
#define COUNTS 2 /* operations of the counter */
#endif
#ifndef READS
#define READS 1
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2 /* a choice gives up afterwards: the model says nothing about progress */
#endif
#define NO_BACKEND 9

byte count[BACKENDS], version[BACKENDS];
bool claimed[BACKENDS];

/* For each choice since its T: the backend that it chose, whether that was right, and whether a
 * process has learned its count. */
byte chosen[CHOOSERS] = NO_BACKEND;
bool right[CHOOSERS], told[CHOOSERS];

inline tell(which) {
    who = 0;
    do
    :: who < CHOOSERS -> if :: chosen[who] == which -> told[who] = true :: else fi; who++
    :: else -> who = 0; break
    od
}

/* T: records whether the choice is right now. From now on no process has learned the count. */
inline note(me, c) {
    chosen[me] = c;
    told[me] = false;
    right[me] = (count[c] == seen[c] && count[1 - c] >= seen[c])
}

inline look(which) {
    atomic {
        seen[which] = count[which];
        versions[which] = version[which];
        was_claimed[which] = claimed[which]
    }
}

inline forget(me) {
    atomic {
        chosen[me] = NO_BACKEND; right[me] = false; told[me] = false;
        seen[0] = 0; seen[1] = 0; versions[0] = 0; versions[1] = 0;
        was_claimed[0] = false; was_claimed[1] = false; first = 0; c = 0; again = 0
    }
}

inline pass_and_pick() {
    if :: first = 0 :: first = 1 fi; /* a round may start at either one */
    look(first);
    look(1 - first);
    if
    :: seen[first] <= seen[1 - first] -> c = first
    :: else -> c = 1 - first
    fi
}

/* The second pass: adds up the decrements. */
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
        :: count[c] == seen[c] && version[c] == versions[c] && claimed[c] == was_claimed[c] ->
            claimed[c] = true;
            was_claimed[c] = true
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
    :: was_claimed[c] ->
        atomic {
            if :: claimed[c] -> claimed[c] = false; version[c]++ :: else fi;
            forget(me)
        };
        goto try
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
