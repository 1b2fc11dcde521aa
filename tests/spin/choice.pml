/* A Spin model of the choice in src_c/choose/select.c: LEAST_PENDING among two backends, with the
 * steps that the proof names. Two processes acquire, or one acquires and one selects. A third one
 * changes the counts, and a fourth one reads them. Spin explores every interleaving.
 *
 * When a choice succeeds, the model asserts two things. At the instant T of the choice, the chosen
 * backend had the count that the choice was based on, and the other backend had at least as many
 * requests in flight. And since T no process has learned the count of the chosen backend.
 *
 * Each of these settings is a bug that Spin must find:
 *   ONE_PASS       the counts are not rechecked NO_CLAIM       the count is taken if the word is
 *   unchanged, without a claim before T CLAIM_STAYS    a process that reads a count leaves the
 *   claim on SAME_VERSION   a decrement does not change the version NO_RECHECK     a selection does
 *   not recheck the word of the chosen backend
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
#define ATTEMPTS 2 /* then a choice gives up; the model does not check progress */
#endif
#define NO_BACKEND 9

byte count[BACKENDS], version[BACKENDS];
bool claimed[BACKENDS];

/* For each choice after its T: the backend that it chose, whether that choice was correct at T, and
 * whether a process has learned the backend's count since. */
byte chosen[CHOOSERS] = NO_BACKEND;
bool right[CHOOSERS], is_known[CHOOSERS];

/* A process learns the count of backend `which`. */
inline reveal(which) {
    chooser = 0;
    do
    :: chooser < CHOOSERS ->
        if :: chosen[chooser] == which -> is_known[chooser] = true :: else fi;
        chooser++
    :: else -> chooser = 0; break
    od
}

/* T: records the choice, and whether it is correct now. No process has learned the count yet. */
inline record_choice(me, c) {
    chosen[me] = c;
    is_known[me] = false;
    right[me] = (count[c] == seen[c] && count[1 - c] >= seen[c])
}

inline read_word(which) {
    atomic {
        seen[which] = count[which];
        versions[which] = version[which];
        was_claimed[which] = claimed[which]
    }
}

inline reset(me) {
    atomic {
        chosen[me] = NO_BACKEND; right[me] = false; is_known[me] = false;
        seen[0] = 0; seen[1] = 0; versions[0] = 0; versions[1] = 0;
        was_claimed[0] = false; was_claimed[1] = false; first = 0; c = 0; tally = 0
    }
}

inline pass_and_pick() {
    if :: first = 0 :: first = 1 fi; /* a round may start at either one */
    read_word(first);
    read_word(1 - first);
    if
    :: seen[first] <= seen[1 - first] -> c = first
    :: else -> c = 1 - first
    fi
}

/* The second pass: adds up the decrements. */
inline recheck() {
    tally = version[first];
    tally = tally + version[1 - first]
}

proctype acquirer(byte me) {
    byte seen[BACKENDS], versions[BACKENDS], first, c, tally, attempts;
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
        :: else -> goto retry
        fi
    }
#endif
    atomic { record_choice(me, c) }
#ifndef ONE_PASS
    recheck();
    if :: tally == versions[0] + versions[1] :: else -> goto retry fi;
#endif
    atomic {
        if
        :: count[c] == seen[c] && version[c] == versions[c] && claimed[c] == was_claimed[c] ->
            assert(right[me]);
            assert(!is_known[me]);
            count[c]++;
            claimed[c] = false;
            goto taken
        :: else -> goto retry
        fi
    }
retry:
    reset(me);
    goto try;
taken:
    reset(me);
done:
    skip
}

proctype selector(byte me) {
    byte seen[BACKENDS], versions[BACKENDS], first, c, tally, attempts;
    bool was_claimed[BACKENDS];
try:
    if :: attempts == ATTEMPTS -> goto done :: else -> attempts++ fi;
    pass_and_pick();
    if
    :: was_claimed[c] ->
        atomic {
            if :: claimed[c] -> claimed[c] = false; version[c]++ :: else fi;
            reset(me)
        };
        goto try
    :: else
    fi;
    atomic { record_choice(me, c) }
    recheck();
    if :: tally == versions[0] + versions[1] :: else -> reset(me); goto try fi;
#ifndef NO_RECHECK
    atomic {
        if
        :: count[c] == seen[c] && version[c] == versions[c] && !claimed[c]
        :: else -> reset(me); goto try
        fi
    }
#endif
    assert(right[me]);
    reset(me);
done:
    skip
}

proctype counter() {
    byte which, steps, chooser;
    do
    :: steps < COUNTS ->
        if :: which = 0 :: which = 1 fi;
        if
        :: atomic { count[which] < 3 -> count[which]++; reveal(which) }
        :: atomic { count[which] > 0 ->
                count[which]--;
                claimed[which] = false;
#ifndef SAME_VERSION
                version[which]++;
#endif
                reveal(which) }
        fi;
        steps++
    :: else -> break
    od
}

proctype reader() {
    byte which, steps, chooser;
    do
    :: steps < READS ->
        if :: which = 0 :: which = 1 fi;
        atomic {
#ifndef CLAIM_STAYS
            if :: claimed[which] -> claimed[which] = false; version[which]++ :: else fi;
#endif
            reveal(which)
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
