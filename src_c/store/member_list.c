#include "store/member_list.h"

#include <stdlib.h>

#include "base/memory.h"
#include "base/random.h"
#include "store/record.h"

static const uint32_t STAYS = UINT32_MAX;
static const uint32_t NONE_LATE = UINT32_MAX;

static size_t array_bytes(uint32_t capacity) {
    return sizeof(member_array) + capacity * sizeof(member);
}

static void destroy_array(epoch_node *node, epoch_release release) {
    (void)release;
    memory_free(reg_container(node, member_array, node));
}

static size_t bytes_of_node(const epoch_node *node) {
    return array_bytes(reg_container(node, member_array, node)->capacity);
}

static const epoch_kind array_kind = {.bytes = bytes_of_node, .destroy = destroy_array};

size_t member_list_bytes_locked(const member_list *list) {
    REG_ASSERT_WRITER();
    const member_array *array = load_own(&((member_list *)list)->array);
    return array == NULL ? 0 : array_bytes(array->capacity);
}

member_reading member_list_read(member_list *list, uint64_t version) {
    REG_ASSERT_READING();
    member_array *array = load_published(&list->array);
    while (array != NULL && array->base > version) array = array->previous;
    if (array == NULL) return (member_reading){0};
    uint64_t distance = version - array->base;
    /* The length first: its acquire shows the late_from that was stored before it. */
    uint32_t length = load_published(&array->length),
             tick = distance < MEMBER_LAST_TICK ? (uint32_t)distance : MEMBER_LAST_TICK;
    while (length != 0 && array->members[length - 1].added > tick) length--;
    return (member_reading){array, length, load_published(&array->late_from), tick};
}

int member_by_order(const void *left, const void *right) {
    uint64_t a = order_of(line_of(((const member *)left)->record)),
             b = order_of(line_of(((const member *)right)->record));
    return (a > b) - (a < b);
}

static void note_weight(member_array *array, uint32_t weight) {
    uint32_t top = load_own(&array->top_weight);
    if (top != 0 && weight != top) publish(&array->is_uneven, true);
    if (weight > top) publish(&array->top_weight, weight);
}

/* If all members of `from` have the same weight, the records' lines need not be read. */
static void copy_weights(member_array *to, member_array *from) {
    uint32_t length = load_own(&to->length);
    if (length != 0 && !load_own(&from->is_uneven)) {
        store_private(&to->top_weight, load_own(&from->top_weight));
        return;
    }
    for (uint32_t i = 0; i < length; i++)
        note_weight(to, load_own(&line_of(to->members[i].record)->weight));
}

static void copy_live_members(member_array *to, member_array *from) {
    uint32_t length = load_own(&from->length), count = 0;
    for (uint32_t i = 0; i < length; i++) {
        if (load_own(&from->members[i].removed) != STAYS) continue;
        to->members[count].record = from->members[i].record;
        to->members[count].traits = from->members[i].traits;
        store_private(&to->members[count].removed, STAYS);
        count++;
    }
    store_private(&to->length, count);
    to->newest = from->newest;
    if (load_own(&from->late_from) < length)
        qsort(to->members, count, sizeof(member), member_by_order);
    copy_weights(to, from);
}

/* A record that was removed and added again is in `from` twice. The entry that is marked as removed
 * does not count. */
static void update_positions(member_list *list, member_array *to, member_array *from) {
    uint32_t length = load_own(&to->length);
    for (uint32_t i = 0; i < length; i++) {
        const member *m = &to->members[i];
        bool is_there = from->members[i].record == m->record;
        bool is_at_place = is_there && load_own(&from->members[i].removed) == STAYS;
        if (!is_at_place) list->moved(m->record, list, member_slot(&m->traits), i);
    }
}

/* ---- when an array is renewed: see member_list.h, Cost ---- */

/* Returns a phase that differs between the lists that one write renews, and between the renewals of
 * one list. It does not use random_next: equal histories must take equal memory, and a thread's
 * choices must not depend on its writes. */
static uint16_t new_phase(const member_list *list, uint64_t committed) {
    return (uint16_t)random_mix((uint64_t)list->seed << 32 ^ committed);
}

/* Between n / 2**shift and twice that, rounded. */
static uint32_t by_phase(uint64_t n, unsigned shift, uint16_t phase) {
    return (uint32_t)((n * (0x10000 + phase) + ((uint64_t)0x8000 << shift)) >> (16 + shift));
}

static bool is_out_of_order(member_array *array) {
    uint32_t length = load_own(&array->length), late_from = load_own(&array->late_from);
    return late_from < length && length - late_from > by_phase(length, 4, array->phase);
}

static bool has_many_dead(const member_list *list) {
    uint16_t phase = load_own(&((member_list *)list)->array)->phase;
    return list->dead > 4 && list->dead - 4 > by_phase(list->live, 1, phase);
}

static bool has_many_new_weights(const member_list *list) {
    uint16_t phase = load_own(&((member_list *)list)->array)->phase;
    return list->reweighted > by_phase(list->live, 3, phase);
}

/* Publishes a fresh array of the live members. It has room for `extra` more, and for another eighth
 * to quarter of that number. */
static bool renew(member_list *list, uint32_t extra, uint64_t committed, epoch_limbo *limbo) {
    member_array *old = load_own(&list->array);
    uint16_t phase = new_phase(list, committed);
    uint32_t wanted = list->live + list->planned + extra;
    uint32_t capacity = wanted + by_phase(wanted, 3, phase);
    member_array *array = memory_alloc(array_bytes(capacity));
    if (array == NULL) return false;
    array->base = committed;
    array->previous = old;
    array->capacity = capacity;
    array->phase = phase;
    store_private(&array->late_from, NONE_LATE);
    if (old != NULL) {
        copy_live_members(array, old);
        update_positions(list, array, old);
    }
    list->dead = list->reweighted = 0;
    publish(&list->array, array);
    if (old != NULL) epoch_retire(limbo, &old->node, &array_kind);
    return true;
}

bool member_list_reserve_locked(member_list *list, uint32_t extra, uint64_t committed,
                                epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    member_array *array = load_own(&list->array);
    bool is_ready = array != NULL &&
                    load_own(&array->length) + list->planned + extra <= array->capacity &&
                    committed - array->base < MEMBER_LAST_TICK - 1 && !is_out_of_order(array);
    if (!is_ready && !renew(list, extra, committed, limbo)) return false;
    list->planned += extra;
    return true;
}

void member_list_cancel_locked(member_list *list) {
    REG_ASSERT_WRITER();
    list->planned = 0;
}

void member_list_reweigh_locked(member_list *list, uint32_t weight) {
    REG_ASSERT_WRITER();
    note_weight(load_own(&list->array), weight);
    list->reweighted++;
}

uint32_t member_list_add_locked(member_list *list, record *added, member_traits traits,
                                uint64_t committed) {
    REG_ASSERT_WRITER();
    member_array *array = load_own(&list->array);
    uint32_t position = load_own(&array->length);
    member *m = &array->members[position];
    m->record = added;
    m->traits = traits;
    m->added = (uint32_t)(committed + 1 - array->base);
    store_private(&m->removed, STAYS);
    note_weight(array, load_own(&line_of(added)->weight));
    if (order_of(line_of(added)) > array->newest)
        array->newest = order_of(line_of(added));
    else if (load_own(&array->late_from) == NONE_LATE)
        publish(&array->late_from, position);
    publish(&array->length, position + 1);
    list->planned--;
    list->live++;
    return position;
}

void member_list_set_slot_locked(member_list *list, uint32_t position, uint32_t slot) {
    REG_ASSERT_WRITER();
    member_set_slot(&load_own(&list->array)->members[position].traits, slot);
}

void member_list_remove_locked(member_list *list, uint32_t position, uint64_t committed) {
    REG_ASSERT_WRITER();
    member_array *array = load_own(&list->array);
    publish(&array->members[position].removed, (uint32_t)(committed + 1 - array->base));
    list->live--;
    list->dead++;
}

void member_list_tidy_locked(member_list *list, uint64_t committed, epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    /* If this fails, the removed members stay until the next write. */
    if (has_many_dead(list) || has_many_new_weights(list) ||
        is_out_of_order(load_own(&list->array)))
        (void)renew(list, 0, committed, limbo);
}

void member_list_retire_locked(member_list *list, epoch_limbo *limbo) {
    REG_ASSERT_WRITER();
    member_array *array = load_own(&list->array);
    if (array == NULL) return;
    if (limbo != NULL)
        epoch_retire(limbo, &array->node, &array_kind);
    else
        memory_free(array);
}
