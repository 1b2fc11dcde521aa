//! The same fleets as in benchmarks/fleet.py.

use crate::registry::{Backend, Model, Registry, Status};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::SystemTime;

pub fn id(number: usize) -> String {
    format!("backend-{number}")
}

pub fn backend(number: usize) -> Backend {
    let models = (0..10)
        .map(|k| Model {
            id: format!("model-{k}"),
            name: format!("model-{k}"),
            context_length: 4096,
            supports_vision: false,
            supports_tools: false,
            supports_json_mode: false,
            max_output_tokens: None,
        })
        .collect();
    Backend {
        id: id(number),
        name: id(number),
        url: format!("http://10.0.{}.{}:8000", number >> 8, number & 255),
        status: Status::Unknown,
        last_health_check: SystemTime::now(),
        last_error: None,
        models,
        priority: 0,
        pending_requests: AtomicU32::new(0),
        total_requests: AtomicU64::new(0),
        avg_latency_ms: AtomicU32::new(0),
        metadata: HashMap::new(),
    }
}

pub fn filled(size: usize) -> Registry {
    let registry = Registry::default();
    for number in 0..size {
        registry.add_backend(backend(number));
        registry.update_status(&id(number), Status::Healthy);
    }
    registry
}

/// Two keys that share a shard of the map, or two keys in different shards.
pub fn pair(registry: &Registry, same_shard: bool) -> Vec<String> {
    let shard = registry.shard(&id(0));
    let second = (1..1000)
        .map(id)
        .find(|key| (registry.shard(key) == shard) == same_shard)
        .expect("1,000 keys over a few shards");
    vec![id(0), second]
}

/// A step of a writer, as in fleet.py: adds, updates or removes a backend.
pub fn change(registry: &Registry, first: usize, step: usize) {
    let number = first + step / 3 % 16;
    match step % 3 {
        0 => registry.add_backend(backend(number)),
        1 => drop(registry.update_status(&id(number), Status::Healthy)),
        _ => drop(registry.remove_backend(&id(number))),
    }
}
