/* A Spin model of look-ups by id while the registration behind the id is replaced, removed and
 * added (src_c/store/record.h, find_registered in src_c/registry/layout.h). One writer makes WRITES
 * writes of any kind, and one reader looks the id up. Spin explores every interleaving.
 *
 * The model asserts that the reader uses no freed record; that what it finds was registered at its
 * version, or came and went since; and that the id was missing at some instant of the look-up if
 * the reader finds nothing.
 *
 * Each of these settings is a bug that Spin must find:
 *
 *   NO_LINK        a replacement has no link to the old record
 *   LATE_VERSION   the version is loaded after the look-up
 *   TWO_STEPS      the old record leaves the map before the new one enters it
 *   EARLY_RETIRE   the old record is retired before the commit
 *   FOLLOW_ALWAYS  the reader follows the link although its version has the new record
 *   NO_LIFE        the reader does not check whether the record was alive at its version
 */
#ifndef WRITES
#define WRITES 4
#endif
#define RECORDS (WRITES + 2)
#define NONE 255

byte committed = 1;
byte slot = 1; /* of the map. Record 1 is registered at first */
byte registered[WRITES + 2]; /* at each version; NONE: nothing */

byte begin[RECORDS], end[RECORDS]; /* 0: it has not ended */
byte previous[RECORDS];
bool retired[RECORDS], freed[RECORDS];
bool is_reading, was_reading[RECORDS]; /* when the record was retired */
bool was_missing; /* since the look-up began */

/* Nobody can find the record any more, except the reader if it is in its epoch. */
inline retire(r) {
    atomic {
        retired[r] = true;
        was_reading[r] = is_reading;
        if :: !is_reading -> freed[r] = true :: else fi
    }
}

inline commit() {
    atomic {
        registered[w] = current;
        committed = w;
        if :: current == NONE -> was_missing = true :: else fi
    }
}

proctype writer() {
    byte w, current = 1, old, fresh = 1;
    for (w : 2 .. WRITES + 1) {
        if
        :: current == NONE -> /* add */
            atomic { fresh++; begin[fresh] = w; previous[fresh] = NONE }
            slot = fresh;
            current = fresh;
            commit()
        :: current != NONE -> /* replace */
            atomic {
                old = current; fresh++;
                begin[fresh] = w;
#ifdef NO_LINK
                previous[fresh] = NONE
#else
                previous[fresh] = old
#endif
            }
#ifdef TWO_STEPS
            slot = NONE;
#endif
            slot = fresh;
            end[old] = w;
            current = fresh;
#ifdef EARLY_RETIRE
            retire(old);
            commit()
#else
            commit();
            retire(old)
#endif
        :: current != NONE -> /* remove */
            old = current;
            end[old] = w;
            current = NONE;
            commit();
            slot = NONE;
            retire(old)
        fi
    }
}

proctype reader() {
    byte v, r, first;
    atomic {
        is_reading = true;
        was_missing = (registered[committed] == NONE)
    }
#ifdef LATE_VERSION
    r = slot;
    v = committed;
#else
    v = committed;
    r = slot;
#endif
    if :: r == NONE -> goto missing :: else fi;
    assert(!freed[r]);
    if :: end[r] == 0 && begin[r] <= v -> goto found :: else fi;
    do
#ifdef FOLLOW_ALWAYS
    :: previous[r] != NONE -> r = previous[r]; assert(!freed[r])
    :: previous[r] == NONE -> break
#else
    :: begin[r] > v && previous[r] != NONE -> r = previous[r]; assert(!freed[r])
    :: else -> break
#endif
    od;
#ifndef NO_LIFE
    first = end[r]; /* one load of the life */
    if
    :: first == 0 && begin[r] > v -> goto missing
    :: first != 0 && first <= v -> goto missing
    :: else
    fi;
#endif
found:
    assert(registered[v] == r || (begin[r] > v && end[r] != 0));
    goto done;
missing:
    assert(was_missing);
done:
    atomic {
        is_reading = false;
        for (r : 1 .. RECORDS - 1) {
            if :: retired[r] -> freed[r] = true :: else fi
        }
    }
}

init {
    atomic {
        begin[1] = 1; previous[1] = NONE; registered[1] = 1;
        run writer(); run reader()
    }
}
