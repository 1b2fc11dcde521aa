/* A Spin model of the limits that choices read (src_c/store/record.h and step a. of the proof in
 * src_c/choose/select.c). A writer changes the limits of two backends in one write. A choice takes
 * the first of them that has room. Counts do not change, so step 5 compares no counts here. Spin
 * explores every interleaving; publish and load_published keep the order of the steps.
 *
 * When a choice succeeds, the model asserts that it was right at T. It also asserts progress: a
 * choice fails at most twice for each write, when the write begins and when it commits. So it does
 * not wait for a writer that has stalled.
 *
 * Each of these settings is a bug that Spin must find:
 *
 *   LATE_STANDING   the limits are published before the standing
 *   LATE_NOTE       CHOICES_CHANGED is published after the limits
 *   LATE_LIMITS     the limits are published after the commit
 *   NO_CHECK        an attempt is checked only if the version has changed
 *   CARELESS        a choice that finds a write at work reads the limits on the counter lines
 *   NEVER_CAREFUL   no choice is careful, so it waits for the writer
 */
#define BACKENDS 2
#ifndef WRITES
#define WRITES 2
#endif
#define VERSIONS (WRITES + 1)
#define AT(version, backend) ((version) * BACKENDS + (backend))
#define NO_BACKEND 9

byte committed, choices_changed;
/* Whether the backend has room: on its line, and in its states, which all versions find. */
bool line[BACKENDS], state[VERSIONS * BACKENDS];
byte standing[BACKENDS]; /* only the version of its last change */

inline publish_limits() {
    line[0] = state[AT(w, 0)];
    line[1] = state[AT(w, 1)]
}

inline publish_standings() {
    standing[0] = w;
    standing[1] = w
}

proctype writer() {
    byte w;
    for (w : 1 .. WRITES) {
        atomic {
            if :: state[AT(w, 0)] = true :: skip fi;
            if :: state[AT(w, 1)] = true :: skip fi
        }
#ifndef LATE_NOTE
        choices_changed = w;
#endif
#ifndef LATE_STANDING
        publish_standings();
#endif
#ifndef LATE_LIMITS
        publish_limits();
#endif
#ifdef LATE_STANDING
        publish_standings();
#endif
#ifdef LATE_NOTE
        choices_changed = w;
#endif
        committed = w;
#ifdef LATE_LIMITS
        publish_limits()
#endif
    }
}

proctype chooser() {
    byte v, now, failures;
    bool careful, must_check, has_room[BACKENDS], right;
again:
    v = committed;
#ifndef NEVER_CAREFUL
    careful = (choices_changed > v);
#endif
    if
#ifndef CARELESS
    :: careful -> atomic { has_room[0] = state[AT(v, 0)]; has_room[1] = state[AT(v, 1)] }
    :: !careful ->
#else
    :: true ->
#endif
        has_room[0] = line[0];
        has_room[1] = line[1]
    fi;
    atomic { /* T */
        now = committed;
        right = (has_room[0] == state[AT(now, 0)] &&
                 (has_room[0] || has_room[1] == state[AT(now, 1)]))
    }
#ifdef NO_CHECK
    must_check = (choices_changed > v && now != v);
#else
    must_check = (choices_changed > v && (now != v || !careful));
#endif
    if :: must_check && standing[0] > v -> goto fail :: else fi;
    if :: must_check && standing[1] > v -> goto fail :: else fi;
    assert(right);
    goto done;
fail:
    failures++;
    assert(failures <= 2 * WRITES);
    goto again;
done:
    skip
}

init {
    atomic {
        if :: state[0] = true; line[0] = true :: skip fi;
        if :: state[1] = true; line[1] = true :: skip fi;
        run writer(); run chooser()
    }
}
