#include "check.h"
#include "memory.h"
#include "record.h"

static epoch_limbo limbo;

static record *new_record(uint64_t order) {
    record *r = memory_alloc_lines(sizeof *r);
    r->order = order;
    r->memberships = memberships_new(NULL, 0);
    return r;
}

static size_t count_at(member_list *list, uint64_t version, uint64_t *orders) {
    member_reading reading = member_list_read(list, version);
    size_t count = 0;
    for (uint32_t i = 0; i < reading.length; i++)
        if (member_is_in(&reading.array->members[i], reading.tick)) orders[count++] = reading.array->members[i].record->order;
    return count;
}

/* Record i joins at version i + 1 and leaves at version 100 + i + 1: every version in between sees exactly its own members. */
static long every_version_sees_its_own(void) {
    enum { COUNT = 100 };
    member_list list = {.is_roster = true};
    record *records[COUNT];
    uint64_t orders[COUNT], committed = 0;
    for (; committed < COUNT; committed++) {
        records[committed] = new_record(committed + 1);
        CHECK(member_list_reserve(&list, 1, committed, &limbo));
        records[committed]->memberships->roster_position = member_list_add(&list, records[committed], (member_traits){0}, committed);
    }
    for (; committed < 2 * COUNT; committed++) {
        CHECK(member_list_reserve(&list, 0, committed, &limbo));
        member_list_remove(&list, records[committed - COUNT]->memberships->roster_position, committed);
        member_list_tidy(&list, committed + 1, &limbo);
    }
    for (uint64_t version = 0; version <= 2 * COUNT; version++) {
        size_t expected = version <= COUNT ? version : 2 * COUNT - version;
        CHECK(count_at(&list, version, orders) == expected);
        for (size_t i = 0; i < expected; i++) CHECK(orders[i] == i + 1 + (version <= COUNT ? 0 : version - COUNT));
    }
    member_list_retire(&list, &limbo);
    epoch_destroy(epoch_collect_now(&limbo), NULL);
    for (int i = 0; i < COUNT; i++) {
        memory_free(records[i]->memberships);
        memory_free(records[i]);
    }
    return 3 * COUNT;
}

/* 2**32 writes after the array was made, ticks no longer fit: a fresh one takes over, and nobody sees a difference. */
static long ticks_run_out(void) {
    member_list list = {.is_roster = true};
    record *one = new_record(1), *two = new_record(2);
    uint64_t orders[2], far = (uint64_t)1 << 40;
    CHECK(member_list_reserve(&list, 2, 0, &limbo));
    one->memberships->roster_position = member_list_add(&list, one, (member_traits){0}, 0);
    CHECK(count_at(&list, far, orders) == 1);
    CHECK(member_list_reserve(&list, 1, far, &limbo));
    two->memberships->roster_position = member_list_add(&list, two, (member_traits){0}, far);
    CHECK(count_at(&list, 1, orders) == 1 && count_at(&list, far, orders) == 1 && count_at(&list, far + 1, orders) == 2);
    CHECK(member_list_reserve(&list, 0, 2 * far, &limbo));
    member_list_remove(&list, one->memberships->roster_position, 2 * far);
    CHECK(count_at(&list, 2 * far, orders) == 2 && count_at(&list, 2 * far + 1, orders) == 1 && orders[0] == 2);
    member_list_retire(&list, &limbo);
    epoch_destroy(epoch_collect_now(&limbo), NULL);
    memory_free(one->memberships);
    memory_free(two->memberships);
    memory_free(one);
    memory_free(two);
    return 3;
}

const test member_list_tests[] = {{"member list: every version sees its own", every_version_sees_its_own},
                                  {"member list: ticks run out", ticks_run_out},
                                  {0}};
