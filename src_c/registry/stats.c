/* The statistics of a registry. They are computed on demand, so they cost the other operations
 * nothing. */
#include "reclaim/reservation.h"
#include "registry/write.h"

static size_t aliases_bytes_locked(const string_map *map) {
    REG_ASSERT_WRITER();
    size_t bytes = string_map_bytes_locked(map);
    EACH_ITEM(map, item) bytes += alias_bytes(reg_container(item, alias, item));
    return bytes;
}

static size_t records_bytes_locked(const string_map *map) {
    REG_ASSERT_WRITER();
    size_t bytes = string_map_bytes_locked(map);
    EACH_ITEM(map, item) {
        bytes += record_bytes_locked(reg_container(item, record, item));
    }
    return bytes;
}

reg_stats reg_get_stats(reg_registry *reg, reg_garbage **garbage) {
    reg_stats stats = {0};
    *garbage = NULL;
    lock_turns(reg);
    lock_writer(reg);
    stats.backends = reg->roster.live;
    stats.models = reg->models.served;
    stats.waiting = reg->limbo.waiting.nodes;
    stats.waiting_bytes = reg->limbo.waiting.bytes;
    epoch_amount kept = generations_kept(reg->generations);
    stats.kept = kept.nodes;
    EACH_ITEM(&reg->records, item)
        stats.prefix_bytes += record_prefix_bytes_locked(reg_container(item, record, item));
    stats.bytes = sizeof *reg + sizeof *reg->settings + stats.waiting_bytes + kept.bytes +
                  generations_bytes(reg->generations) + member_list_bytes_locked(&reg->roster) +
                  watches_bytes_locked(reg) + records_bytes_locked(&reg->records) +
                  aliases_bytes_locked(&reg->urls) + aliases_bytes_locked(&reg->instances) +
                  model_index_bytes_locked(&reg->models, &stats.index_entries);
    if (stats.waiting != 0) *garbage = collect_now_locked(reg);
    unlock_writer_and_sweep(reg, garbage);
    unlock_turns(reg);
    return stats;
}
