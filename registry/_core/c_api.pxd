"""Cython's declarations of the C core, src_c/registry.h, and of the helpers in python.h."""

from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "base/types.h" nogil:
    ctypedef bint c_bool "bool"

    ctypedef struct reg_key:
        uint64_t hash
        const char *data
        size_t length

    ctypedef struct reg_text:
        size_t length

    ctypedef struct reg_numbers:
        const char *first
        Py_ssize_t stride
        size_t length
        uint8_t width
        c_bool is_signed

    ctypedef struct reg_prefix:
        uint64_t left

    ctypedef enum reg_mark:
        REG_CONTENT_MARK
        REG_ROLE_MARK


cdef extern from "registry.h" nogil:
    ctypedef enum reg_status:
        REG_OK
        REG_NOT_FOUND
        REG_DUPLICATE
        REG_INSTANCE_TAKEN
        REG_OVERFLOW
        REG_NO_MEMORY
        REG_NONE_AVAILABLE
        REG_LINE_FULL
        REG_CHANGED
        REG_WAITS
        REG_WOULD_BLOCK
        REG_STATUS_COUNT

    ctypedef enum reg_health:
        REG_HEALTHY

    ctypedef enum reg_change_kind:
        REG_ADDED
        REG_REMOVED
        REG_REPLACED
        REG_UPDATED
        REG_OVERFLOWED
        REG_CHANGE_KIND_COUNT

    enum:
        REG_ELIGIBLE
        REG_SHORT_CONTEXT
        REG_COOLING_DOWN
        REG_EJECTED
        REG_REASON_COUNT

    enum:
        REG_VISION
        REG_TOOLS
        REG_JSON_MODE

    ctypedef struct reg_registry:
        pass
    ctypedef struct reg_variant:
        pass
    ctypedef struct reg_garbage:
        pass
    ctypedef struct reg_kept:
        pass
    ctypedef struct reg_reader:
        pass

    ctypedef struct reg_model:
        reg_key id
        reg_key name
        uint32_t context_length
        uint32_t max_output_tokens
        c_bool has_max_output
        uint8_t capabilities
        void *object

    ctypedef struct reg_view:
        void *definition
        void *error
        uint64_t serial
        int64_t checked_at
        uint64_t total
        uint64_t failed
        uint64_t pending_tokens
        int64_t unavailable_until
        uint32_t pending
        uint32_t latency
        uint32_t ttft
        c_bool has_ttft
        uint8_t health
        uint8_t unavailable
        c_bool is_draining

    ctypedef struct reg_views:
        reg_view *items
        size_t count
        uint64_t version

    ctypedef struct reg_waiter:
        reg_waiter *next
        void *object
        c_bool is_woken

    ctypedef struct reg_idle_waiter:
        reg_waiter node

    enum:
        REG_WAS_ZERO
        REG_MUST_SETTLE
        REG_IS_WAITED

    ctypedef struct reg_aftermath:
        uint32_t flags
        reg_waiter *woken

    ctypedef struct reg_batch:
        const reg_key *ids
        size_t count
        const uint32_t *samples
        uint32_t *values
        c_bool *at_zero
        c_bool is_waited
        reg_waiter *woken
        size_t applied
        size_t unknown

    ctypedef struct reg_entry:
        reg_key id
        void *id_object
        reg_key url
        reg_key instance
        void *definition
        reg_variant **variants
        size_t variant_count
        size_t definition_bytes
        int64_t now
        uint32_t max_pending
        int32_t priority
        uint64_t max_pending_tokens
        uint16_t weight

    ctypedef struct reg_edit:
        reg_change_kind kind
        reg_entry entry
        uint64_t serial
        const void *expected

    const uint64_t REG_ANY_FLEET

    const char *reg_start() noexcept

    const uint64_t REG_NEVER

    ctypedef struct reg_clock:
        pass

    reg_clock *reg_clock_new(int64_t now) noexcept
    void reg_clock_advance(reg_clock *clock, uint64_t nanoseconds) noexcept
    uint64_t reg_clock_read(const reg_clock *clock) noexcept
    void reg_clock_drop(reg_clock *clock) noexcept

    ctypedef struct reg_settings:
        reg_clock *clock
        uint64_t latency_ttl
        c_bool ejects
        uint32_t consecutive_failures
        double failure_rate
        uint32_t min_requests
        uint64_t window
        uint64_t base
        uint64_t max
        uint32_t trials
        uint64_t slow_start
        double panic
        double affinity_load
        double affinity_floor
        uint32_t block_tokens
        uint32_t prefix_blocks
        uint64_t max_waiting

    reg_registry *reg_new(const reg_settings *settings) noexcept

    reg_reader *reg_read_begin() noexcept
    void reg_read_end(reg_reader *reader) noexcept
    reg_kept *reg_read_keep(reg_registry *reg, reg_reader *reader, size_t count) noexcept
    reg_status reg_get(reg_registry *reg, const reg_key *id, reg_view *view) noexcept
    reg_status reg_get_all(reg_registry *reg, c_bool healthy_only, reg_views *views) noexcept
    reg_status reg_get_for_model(reg_registry *reg, const reg_key *model_id,
                                 reg_views *views) noexcept
    void reg_views_free(reg_views *views) noexcept
    void *reg_find_by_instance(reg_registry *reg, const reg_key *instance) noexcept
    reg_status reg_contains(reg_registry *reg, const reg_key *id) noexcept
    reg_status reg_has_url(reg_registry *reg, const reg_key *url) noexcept
    ctypedef struct reg_stats:
        size_t backends
        size_t models
        size_t index_entries
        size_t waiting
        size_t waiting_bytes
        size_t kept
        size_t prefix_bytes
        size_t bytes

    ctypedef struct reg_model_ids:
        reg_key *items
        size_t count

    reg_status reg_get_model_ids(reg_registry *reg, reg_model_ids *ids) noexcept
    void reg_model_ids_free(reg_model_ids *ids) noexcept
    reg_stats reg_get_stats(reg_registry *reg, reg_garbage **garbage) noexcept
    uint32_t reg_backend_count(reg_registry *reg) noexcept
    uint32_t reg_model_count(reg_registry *reg) noexcept

    reg_status reg_increment_pending(reg_registry *reg, const reg_key *id, uint32_t *value) noexcept
    reg_status reg_decrement_pending(reg_registry *reg, const reg_key *id, uint32_t *value,
                                     reg_aftermath *after) noexcept
    reg_status reg_increment_total(reg_registry *reg, const reg_key *id, uint64_t *value) noexcept
    reg_status reg_update_latency(reg_registry *reg, const reg_key *id, uint32_t sample,
                                  uint32_t *average) noexcept
    reg_status reg_increment_pending_many(reg_registry *reg, reg_batch *batch) noexcept
    reg_status reg_decrement_pending_many(reg_registry *reg, reg_batch *batch) noexcept
    reg_status reg_update_latency_many(reg_registry *reg, reg_batch *batch) noexcept

    reg_status reg_is_idle(reg_registry *reg, const reg_key *id, uint64_t serial,
                           c_bool *is_idle) noexcept
    reg_status reg_wait_begin(reg_registry *reg, const reg_key *id, uint64_t serial,
                              reg_idle_waiter *waiter, c_bool *is_idle) noexcept

    ctypedef enum reg_policy:
        REG_AFFINITY
        REG_POLICY_COUNT

    ctypedef struct reg_request:
        reg_key model_id
        reg_policy policy
        uint32_t min_context
        uint32_t tokens
        const uint64_t *prefix
        size_t prefix_count
        uint8_t capabilities
        c_bool allow_unknown
        c_bool may_block
        c_bool is_limited
        reg_key *exclude
        size_t exclude_count
        reg_key *only
        size_t only_count
        uint64_t affinity

    uint64_t reg_affinity_of(const void *bytes, size_t length) noexcept

    ctypedef struct reg_candidate:
        void *definition
        uint32_t pending
        uint32_t latency
        uint32_t context_length
        int32_t priority
        uint16_t weight
        uint8_t reason

    ctypedef struct reg_candidates:
        reg_candidate *items
        size_t count

    ctypedef struct reg_obstacle:
        void *definition
        uint32_t context_length
        uint8_t reason

    ctypedef struct reg_refusal:
        reg_obstacle *items
        size_t count
        uint64_t retry_after

    ctypedef struct reg_record:
        pass

    ctypedef struct reg_lease:
        reg_record *record
        void *definition

    reg_status reg_acquire(reg_registry *reg, reg_request *request, reg_lease *lease,
                           reg_refusal *refusal) noexcept
    ctypedef struct reg_place_waiter
    ctypedef struct reg_wakes:
        reg_waiter *woken
        reg_place_waiter *nudged
        reg_waiter *last

    ctypedef struct reg_place_waiter:
        reg_waiter node
        reg_request request
        reg_lease *lease
        int32_t priority
        uint32_t given_back
        uint64_t look_after
        uint64_t arrival

    reg_waiter *reg_wakes_next(reg_wakes *wakes) noexcept
    reg_status reg_acquire_beside(reg_registry *reg, reg_request *request, reg_lease *lease,
                                  reg_refusal *refusal, reg_wakes *wakes) noexcept
    reg_status reg_line_enter(reg_registry *reg, reg_place_waiter *waiter, c_bool may_wait,
                              reg_refusal *refusal, reg_wakes *wakes) noexcept
    reg_status reg_line_look(reg_registry *reg, reg_place_waiter *waiter, c_bool is_last,
                             reg_refusal *refusal, reg_wakes *wakes) noexcept
    uint32_t reg_line_leave(reg_registry *reg, reg_place_waiter *waiter, reg_wakes *wakes) noexcept
    c_bool reg_is_waited(reg_registry *reg) noexcept
    void reg_hand_over(reg_registry *reg, reg_wakes *wakes) noexcept
    void reg_lease_hand_over(reg_lease *lease, reg_wakes *wakes) noexcept
    void reg_clock_hand_over(reg_clock *clock, reg_wakes *wakes) noexcept
    size_t reg_waiting(reg_registry *reg, const reg_key *model_id) noexcept
    reg_status reg_select(reg_registry *reg, reg_reader *reader, reg_request *request,
                          void **definition, reg_refusal *refusal) noexcept
    reg_status reg_explain(reg_registry *reg, reg_request *request,
                           reg_candidates *candidates) noexcept
    void reg_candidates_free(reg_candidates *candidates) noexcept

    ctypedef enum reg_outcome:
        REG_SUCCEEDED
        REG_FAILED
        REG_ABANDONED
        REG_BACK_OFF

    c_bool reg_lease_release(reg_lease *lease, reg_outcome outcome, const uint32_t *sample,
                             reg_aftermath *after) noexcept
    void reg_lease_settle(reg_lease *lease, reg_outcome outcome, uint64_t retry_after,
                          reg_aftermath *after, reg_waiter **watchers,
                          reg_garbage **garbage) noexcept
    c_bool reg_lease_is_waited(const reg_lease *lease) noexcept
    c_bool reg_lease_first_token(reg_lease *lease, uint32_t tokens) noexcept
    uint32_t reg_lease_tokens(const reg_lease *lease) noexcept
    c_bool reg_lease_set_tokens(reg_lease *lease, uint32_t tokens) noexcept
    uint64_t reg_lease_cached_tokens(const reg_lease *lease) noexcept
    reg_status reg_lease_set_cached_tokens(reg_lease *lease, uint32_t tokens) noexcept
    size_t reg_lease_blocks(const reg_lease *lease) noexcept
    c_bool reg_lease_is_active(const reg_lease *lease) noexcept
    const char *reg_policy_name(reg_policy policy) noexcept
    void reg_seed_random(uint64_t seed) noexcept

    void reg_prefix_begin(reg_prefix *prefix, uint64_t block) noexcept
    void reg_prefix_mark(reg_prefix *prefix, reg_mark mark) noexcept
    size_t reg_prefix_add_text(reg_prefix *prefix, const reg_text *text, size_t *at,
                               uint64_t *hashes, size_t room) noexcept
    size_t reg_prefix_add_numbers(reg_prefix *prefix, const reg_numbers *numbers, size_t *at,
                                  uint64_t *hashes, size_t room) noexcept
    uint64_t reg_prefix_hash(const reg_prefix *prefix) noexcept
    void reg_read_numbers(const reg_numbers *numbers, uint64_t *values) noexcept

    reg_status reg_hold_models(reg_registry *reg, const reg_model *models, size_t count,
                               reg_variant **variants, c_bool *is_taken,
                               reg_garbage **garbage) noexcept
    void reg_drop_models(reg_registry *reg, reg_variant **variants, size_t count,
                         reg_garbage **garbage) noexcept
    void *reg_variant_object(const reg_variant *v) noexcept
    reg_status reg_apply(reg_registry *reg, const reg_edit *changes, size_t count,
                         uint64_t fleet, reg_garbage **garbage) noexcept
    reg_status reg_remove(reg_registry *reg, const reg_key *id, uint64_t serial, reg_view *last,
                          reg_kept **kept, reg_garbage **garbage) noexcept
    reg_status reg_update_health(reg_registry *reg, const reg_key *id, uint64_t serial,
                                 reg_health health, int64_t now, void *error, size_t error_bytes,
                                 reg_garbage **garbage) noexcept
    reg_status reg_set_draining(reg_registry *reg, const reg_key *id, uint64_t serial,
                                c_bool draining, reg_garbage **garbage) noexcept
    reg_status reg_cool_down(reg_registry *reg, const reg_key *id, uint64_t serial,
                             uint64_t nanoseconds, reg_garbage **garbage) noexcept
    reg_status reg_restore(reg_registry *reg, const reg_key *id, uint64_t serial,
                           reg_garbage **garbage) noexcept

    ctypedef struct reg_watch:
        pass

    ctypedef struct reg_change:
        uint64_t version
        reg_view before
        reg_view after
        reg_kept *kept
        uint8_t kind
        c_bool has_before
        c_bool has_after

    reg_status reg_watch_open(reg_registry *reg, uint32_t limit, reg_watch **watch,
                              reg_views *fleet, reg_kept **kept) noexcept
    reg_status reg_watch_take(reg_watch *watch, c_bool may_block, reg_change *change,
                              reg_views *fleet, reg_garbage **garbage) noexcept
    c_bool reg_watch_is_ready(reg_watch *watch) noexcept
    c_bool reg_watch_listen(reg_watch *watch, reg_waiter *waiter) noexcept
    c_bool reg_watch_forget(reg_watch *watch, reg_waiter *waiter) noexcept
    reg_waiter *reg_take_waiters(reg_registry *reg) noexcept
    void reg_watch_lag(reg_watch *watch) noexcept
    void reg_watch_close(reg_watch *watch, reg_waiter **waiters, reg_garbage **garbage) noexcept
    c_bool reg_watch_is_closed(const reg_watch *watch) noexcept
    void reg_watch_free(reg_watch *watch) noexcept


# These call back into Python, so the thread state must be attached.
cdef extern from "registry.h":
    ctypedef void (*reg_release)(void *object) noexcept
    void reg_free(reg_registry *reg, reg_release release) noexcept
    void reg_destroy(reg_garbage *garbage, reg_release release) noexcept
    void reg_keep_drop(reg_kept *kept, size_t count, reg_release release) noexcept
    void reg_lease_drop(reg_lease *lease, reg_release release) noexcept
    c_bool reg_wait_end(reg_idle_waiter *waiter, reg_release release) noexcept
    void reg_refusal_drop(reg_refusal *refusal, reg_release release) noexcept


cdef extern from "python.h":
    ctypedef struct PyMemberDef:
        pass
    void share_between_threads(object shared)
    void make_immortal(object shared)
    int key_of(object text, reg_key *key) except -1
    # `key_of` without Cython's check for an exception: the caller checks for it.
    int try_key_of "key_of"(PyObject *text, reg_key *key)
    int text_of(object text, reg_text *found) except -1
    object dict_get(dict mapping, str key)
    PyMemberDef *slot_of(object owner, str name) except NULL
    object slot_get(object owner, PyMemberDef *slot)
    const void *slot_address(PyObject *owner, PyMemberDef *slot)
    bint slots_are_equal(PyObject *a, PyObject *b, PyMemberDef *slot) except -1
    bint slot_equals(PyObject *owner, PyMemberDef *slot, PyObject *value) except -1
    void slot_fill(object owner, PyMemberDef *slot, PyObject *value)
    object allocate(PyTypeObject *type)
    object allocate_untracked(PyTypeObject *type)
    object property_for(PyTypeObject *type, PyMemberDef *slot, object (*get)(object, void *))
    PyObject *method_for(object descriptor, PyTypeObject *type) except? NULL
    object acquire_for(object descriptor, PyTypeObject *type, tuple names, policy, tokens,
                       object (*choose)(object, object, object, object, object, object, object,
                                        object, object, object),
                       object (*choose_plainly)(object, object))
    void shorten_release(object descriptor, object (*succeed)(object, object))
    int64_t now_microseconds()
