#include <string.h>

#include "base/memory.h"
#include "check.h"
#include "client.h"
#include "reclaim/reclaim.h"
#include "store/memberships.h"

static epoch_limbo limbo;

/* A record with a state that has these memberships, and nothing else. */
static record *new_record(uint64_t serial, memberships *m) {
    record *r = record_alloc();
    state *s = memory_alloc(sizeof *s);
    CHECK(r != NULL && s != NULL && m != NULL);
    s->memberships = &m->base;
    line_of(r)->order_low = (uint32_t)serial;
    store_private(&r->state, s);
    return r;
}

static void drop_record(record *r) {
    memory_free(memberships_locked(r));
    memory_free(load_own(&r->state));
    record_free(r);
}

static size_t count_at(member_list *list, uint64_t version, uint64_t *serials) {
    epoch_slot *reader = epoch_enter();
    member_reading reading = member_list_read(list, version);
    size_t count = 0;
    for (uint32_t i = 0; i < reading.length; i++)
        if (member_is_in(&reading.array->members[i], reading.tick))
            serials[count++] = order_of(line_of(reading.array->members[i].record));
    epoch_leave(reader);
    return count;
}

/* Record i joins at version i + 1 and leaves at version COUNT + i + 1. Each version must see
 * exactly its own members. */
static long every_version_sees_its_own(void) {
    contract_enter_writer(&limbo);
    enum { COUNT = 100 };
    member_list list = {.moved = memberships_moved_in_roster_locked};
    record *records[COUNT];
    uint64_t serials[COUNT], committed = 0;
    for (; committed < COUNT; committed++) {
        records[committed] = new_record(committed + 1, memberships_new(NULL, 0));
        CHECK(member_list_reserve_locked(&list, 1, committed, &limbo));
        memberships_locked(records[committed])->roster_position =
            member_list_add_locked(&list, records[committed], (member_traits){0}, committed);
    }
    for (; committed < 2 * COUNT; committed++) {
        CHECK(member_list_reserve_locked(&list, 0, committed, &limbo));
        record *r = records[committed - COUNT];
        member_list_remove_locked(&list, memberships_locked(r)->roster_position, committed);
        member_list_tidy_locked(&list, committed + 1, &limbo);
    }
    for (uint64_t version = 0; version <= 2 * COUNT; version++) {
        size_t expected = version <= COUNT ? version : 2 * COUNT - version;
        CHECK(count_at(&list, version, serials) == expected);
        for (size_t i = 0; i < expected; i++)
            CHECK(serials[i] == i + 1 + (version <= COUNT ? 0 : version - COUNT));
    }
    member_list_retire_locked(&list, &limbo);
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
    for (int i = 0; i < COUNT; i++) drop_record(records[i]);
    contract_leave_writer(&limbo);
    return 3 * COUNT;
}

/* 2**32 writes after an array was made, its 32-bit ticks run out. A new array replaces it, and
 * readers see no difference. */
static long ticks_run_out(void) {
    contract_enter_writer(&limbo);
    member_list list = {.moved = memberships_moved_in_roster_locked};
    record *one = new_record(1, memberships_new(NULL, 0)),
           *two = new_record(2, memberships_new(NULL, 0));
    uint64_t serials[2], far = (uint64_t)1 << 40;
    CHECK(member_list_reserve_locked(&list, 2, 0, &limbo));
    memberships_locked(one)->roster_position =
        member_list_add_locked(&list, one, (member_traits){0}, 0);
    CHECK(count_at(&list, far, serials) == 1);
    CHECK(member_list_reserve_locked(&list, 1, far, &limbo));
    memberships_locked(two)->roster_position =
        member_list_add_locked(&list, two, (member_traits){0}, far);
    CHECK(count_at(&list, 1, serials) == 1 && count_at(&list, far, serials) == 1 &&
          count_at(&list, far + 1, serials) == 2);
    CHECK(member_list_reserve_locked(&list, 0, 2 * far, &limbo));
    member_list_remove_locked(&list, memberships_locked(one)->roster_position, 2 * far);
    CHECK(count_at(&list, 2 * far, serials) == 2 && count_at(&list, 2 * far + 1, serials) == 1 &&
          serials[0] == 2);
    member_list_retire_locked(&list, &limbo);
    reclaim_destroy(epoch_collect_now(&limbo), NULL);
    drop_record(one);
    drop_record(two);
    contract_leave_writer(&limbo);
    return 3;
}

/* ---- the cost of a move ---- */

/* A move must use only the membership at the given slot. The variants are NULL, so searching them
 * would crash. */
static long a_move_looks_at_one_slot(void) {
    contract_enter_writer(&limbo);
    enum { COUNT = 1000 };
    variant *none[COUNT] = {0};
    member_list list = {0};
    record *r = new_record(1, memberships_new(none, COUNT));
    for (uint32_t slot = 0; slot < COUNT; slot++)
        memberships_moved_in_model_locked(r, &list, slot, slot + 7);
    for (uint32_t slot = 0; slot < COUNT; slot++)
        CHECK(memberships_locked(r)->positions[slot] == slot + 7);
    drop_record(r);
    contract_leave_writer(&limbo);
    return COUNT;
}

/* A record may have more memberships than a slot can number. All memberships from the last slot on
 * share that slot. */
static long the_last_slot_is_shared(void) {
    contract_enter_writer(&limbo);
    const uint32_t count = MEMBER_LAST_SLOT + 3;
    member_traits traits = {.context_length = 1, .capabilities = 0xFF};
    for (uint32_t slot = MEMBER_LAST_SLOT - 3; slot < count; slot++) {
        member_set_slot(&traits, slot);
        CHECK(member_slot(&traits) == (slot < MEMBER_LAST_SLOT ? slot : MEMBER_LAST_SLOT));
    }
    CHECK(traits.context_length == 1 && traits.capabilities == 0xFF);
    memberships *m = memory_alloc(sizeof *m + count * (sizeof(variant *) + sizeof(uint32_t)));
    m->count = count;
    m->positions = (uint32_t *)(m->variants + count);
    record *r = new_record(1, m);
    for (uint32_t slot = MEMBER_LAST_SLOT; slot < count; slot++) {
        m->variants[slot] = memory_alloc(sizeof *m->variants[slot]);
        m->variants[slot]->model = memory_alloc_lines(sizeof(model));
    }
    for (uint32_t slot = MEMBER_LAST_SLOT; slot < count; slot++)
        memberships_moved_in_model_locked(r, &m->variants[slot]->model->members, MEMBER_LAST_SLOT,
                                          slot + 7);
    for (uint32_t slot = MEMBER_LAST_SLOT; slot < count; slot++) {
        CHECK(m->positions[slot] == slot + 7);
        memory_free(m->variants[slot]->model);
        memory_free(m->variants[slot]);
    }
    drop_record(r);
    contract_leave_writer(&limbo);
    return count;
}

/* Redefinitions change the slots of the models that stay. Then half of the backends are removed, so
 * the other half moves in all lists. Then the other half is removed too. Each removal must find the
 * positions of its own backend. */
static long a_redefinition_renumbers(void) {
    enum { COUNT = 60 };
    const char *orders[][4] = {
        {"m", "n", "o", "p"}, {"p", "o", "n", "m"}, {"n", "p", "m", "o"}, {"o", "m", "p", "n"}};
    reg_registry *reg = reg_new(NULL);
    char id[16];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            offer o = {.id = id};
            snprintf(id, sizeof id, "b%d", i);
            memcpy(o.models, orders[round == 0 ? 0 : i % 4], sizeof o.models);
            CHECK((round == 0 ? client_add : client_redefine)(reg, &o, i) == REG_OK);
        }
    }
    for (int gone = 0; gone < COUNT; gone++) {
        snprintf(id, sizeof id, "b%d", gone < COUNT / 2 ? gone * 2 : (gone - COUNT / 2) * 2 + 1);
        CHECK(client_remove(reg, id, NULL) == REG_OK);
        int all[COUNT], some[COUNT];
        size_t left = client_query(reg, NULL, all, COUNT);
        CHECK(left == (size_t)(COUNT - gone - 1));
        for (int k = 0; k < 4; k++)
            CHECK(client_query(reg, orders[0][k], some, COUNT) == left &&
                  memcmp(all, some, left * sizeof *all) == 0);
    }
    client_free(reg);
    return COUNT;
}

/* ---- the cost of one write ---- */

enum { LISTS = 200, BACKENDS = 300 };

/* Models that all backends share. */
typedef struct fleet {
    model_index models;
    variant *variants[LISTS];
    member_list *lists[LISTS];
    record *records[BACKENDS];
    uint64_t committed, serial;
    size_t copied; /* members that the current write has copied */
} fleet;

static member_array *array_of(member_list *list) { return load_own(&list->array); }

/* Counts how many members a step has copied into fresh arrays. */
#define COUNTING_COPIES(f, list, step)                                                             \
    do {                                                                                           \
        member_array *before = array_of(list);                                                     \
        (void)(step);                                                                              \
        if (array_of(list) != before) (f)->copied += load_own(&array_of(list)->length);            \
    } while (0)

static void begin_fleet(fleet *f) {
    *f = (fleet){0};
    CHECK(model_index_init(&f->models, memberships_moved_in_model_locked));
    for (int i = 0; i < LISTS; i++) {
        char id[16];
        bool is_new;
        snprintf(id, sizeof id, "model-%d", i);
        reg_model definition = {.id = key_of(id), .name = key_of("name"), .object = object_new(i)};
        f->variants[i] = model_index_ref_locked(&f->models, &definition, &is_new, &limbo);
        CHECK(f->variants[i] != NULL && is_new);
        f->lists[i] = &f->variants[i]->model->members;
    }
}

static void join_all(fleet *f, int backend) {
    variant *none[LISTS] = {0};
    record *r = f->records[backend] = new_record(++f->serial, memberships_new(none, LISTS));
    for (uint32_t i = 0; i < LISTS; i++) {
        member_traits traits = {0};
        member_set_slot(&traits, i);
        COUNTING_COPIES(f, f->lists[i],
                        member_list_reserve_locked(f->lists[i], 1, f->committed, &limbo));
        memberships_locked(r)->positions[i] =
            member_list_add_locked(f->lists[i], r, traits, f->committed);
    }
    f->committed++;
}

static void leave_all(fleet *f, int backend) {
    record *r = f->records[backend];
    for (uint32_t i = 0; i < LISTS; i++) {
        COUNTING_COPIES(f, f->lists[i],
                        member_list_reserve_locked(f->lists[i], 0, f->committed, &limbo));
        member_list_remove_locked(f->lists[i], memberships_locked(r)->positions[i], f->committed);
    }
    f->committed++;
    for (uint32_t i = 0; i < LISTS; i++)
        COUNTING_COPIES(f, f->lists[i],
                        (member_list_tidy_locked(f->lists[i], f->committed, &limbo), true));
    drop_record(r);
}

/* Lists of at most this many members are renewed every few writes, which is cheap. The check skips
 * them. */
enum { SMALL = 40 };

/* A write changes each list by one or two members. If lists are renewed at different times, about
 * five members are copied for each such change. If lists are renewed together, the worst write
 * copies hundreds. */
static void expect_even(const char *what, const size_t *copied, int writes) {
    size_t sum = 0, worst = 0;
    for (int i = 0; i < writes; i++) {
        sum += copied[i];
        if (copied[i] > worst) worst = copied[i];
    }
    printf("    %-10s members copied for each list: %4.1f by a write, %5.1f by the worst\n", what,
           (double)sum / writes / LISTS, (double)worst / LISTS);
    CHECK(sum < 10 * (size_t)writes * LISTS && worst < 25 * LISTS);
}

static long lists_are_renewed_apart(void) {
    contract_enter_writer(&limbo);
    static fleet f;
    static size_t copied[2 * BACKENDS];
    begin_fleet(&f);
    for (int i = 0; i < BACKENDS; i++, f.copied = 0) {
        join_all(&f, i);
        copied[i] = f.copied;
    }
    expect_even("growth", copied + SMALL, BACKENDS - SMALL);
    for (int i = 0; i < BACKENDS; i++, f.copied = 0) { /* a rolling restart */
        leave_all(&f, i);
        join_all(&f, i);
        copied[i] = f.copied;
    }
    expect_even("restart", copied, BACKENDS);
    for (int i = 0; i < BACKENDS; i++, f.copied = 0) {
        leave_all(&f, i);
        copied[i] = f.copied;
    }
    expect_even("removal", copied, BACKENDS - SMALL);
    for (int i = 0; i < LISTS; i++) model_index_unref_locked(&f.models, f.variants[i], &limbo);
    reclaim_destroy(epoch_collect_now(&limbo), object_release);
    model_index_free(&f.models);
    contract_leave_writer(&limbo);
    return 3L * BACKENDS * LISTS;
}

const test member_list_tests[] = {
    {"member list: versions see their own members", every_version_sees_its_own},
    {"member list: ticks run out", ticks_run_out},
    {"member list: a move reads only one slot", a_move_looks_at_one_slot},
    {"member list: the last slot is shared", the_last_slot_is_shared},
    {"member list: a redefinition renumbers", a_redefinition_renumbers},
    {"member list: renewals are spread over writes", lists_are_renewed_apart},
    {0}};
