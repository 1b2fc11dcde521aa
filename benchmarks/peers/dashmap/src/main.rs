//! The original plan's registry: two DashMaps, sequentially consistent atomics, a clone for each result. As a benchmark peer it runs
//! one measurement and prints nanoseconds an operation:
//!
//!     dashmap-peer increment COUNT            one thread, one backend
//!     dashmap-peer one-backend COUNT          two threads, one backend
//!     dashmap-peer one-shard COUNT            two threads, two backends whose keys fall into one shard
//!     dashmap-peer two-shards COUNT           two threads, two backends in different shards
//!     dashmap-peer get COUNT                  get_backend
//!     dashmap-peer query COUNT SIZE           get_backends_for_model with SIZE matching backends

// What a view clones is there to be cloned; nothing here reads it.
#![allow(dead_code)]

use dashmap::DashMap;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::{Instant, SystemTime};

#[derive(Clone)]
struct Model {
    id: String,
    name: String,
    context_length: u32,
    supports_vision: bool,
    supports_tools: bool,
    supports_json_mode: bool,
    max_output_tokens: Option<u32>,
}

#[derive(Clone, Copy)]
enum Status {
    Healthy,
}

struct Backend {
    id: String,
    name: String,
    url: String,
    status: Status,
    last_health_check: SystemTime,
    last_error: Option<String>,
    models: Vec<Model>,
    priority: i32,
    pending_requests: AtomicU32,
    total_requests: AtomicU64,
    avg_latency_ms: AtomicU32,
    metadata: HashMap<String, String>,
}

struct BackendView {
    id: String,
    name: String,
    url: String,
    status: Status,
    last_health_check: SystemTime,
    last_error: Option<String>,
    models: Vec<Model>,
    priority: i32,
    pending_requests: u32,
    total_requests: u64,
    avg_latency_ms: u32,
    metadata: HashMap<String, String>,
}

impl From<&Backend> for BackendView {
    fn from(b: &Backend) -> Self {
        BackendView {
            id: b.id.clone(),
            name: b.name.clone(),
            url: b.url.clone(),
            status: b.status,
            last_health_check: b.last_health_check,
            last_error: b.last_error.clone(),
            models: b.models.clone(),
            priority: b.priority,
            pending_requests: b.pending_requests.load(SeqCst),
            total_requests: b.total_requests.load(SeqCst),
            avg_latency_ms: b.avg_latency_ms.load(SeqCst),
            metadata: b.metadata.clone(),
        }
    }
}

#[derive(Default)]
struct Registry {
    backends: DashMap<String, Backend>,
    model_index: DashMap<String, Vec<String>>,
}

impl Registry {
    fn add_backend(&self, backend: Backend) {
        for model in &backend.models {
            self.model_index.entry(model.id.clone()).or_default().push(backend.id.clone());
        }
        self.backends.insert(backend.id.clone(), backend);
    }

    fn get_backend(&self, id: &str) -> Option<BackendView> {
        self.backends.get(id).map(|b| BackendView::from(b.value()))
    }

    fn get_backends_for_model(&self, model: &str) -> Vec<BackendView> {
        match self.model_index.get(model) {
            Some(ids) => ids.iter().filter_map(|id| self.get_backend(id)).collect(),
            None => Vec::new(),
        }
    }

    fn increment_pending(&self, id: &str) -> Option<u32> {
        self.backends.get(id).map(|b| b.pending_requests.fetch_add(1, SeqCst) + 1)
    }
}

fn filled(size: usize) -> Registry {
    let registry = Registry::default();
    for number in 0..size {
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
        registry.add_backend(Backend {
            id: format!("backend-{number}"),
            name: format!("backend-{number}"),
            url: format!("http://10.0.{}.{}:8000", number >> 8, number & 255),
            status: Status::Healthy,
            last_health_check: SystemTime::now(),
            last_error: None,
            models,
            priority: 0,
            pending_requests: AtomicU32::new(0),
            total_requests: AtomicU64::new(0),
            avg_latency_ms: AtomicU32::new(0),
            metadata: HashMap::new(),
        });
    }
    registry
}

/// Nanoseconds an operation, of all threads together: from the first one's start to the last one's end, on their own clocks, for
/// a thread that only waits can be late by more than a run takes.
fn run(registry: Arc<Registry>, keys: Vec<String>, count: u64) -> f64 {
    let barrier = Arc::new(Barrier::new(keys.len()));
    let total = count * keys.len() as u64;
    let threads: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let (registry, barrier) = (registry.clone(), barrier.clone());
            std::thread::spawn(move || {
                barrier.wait();
                let started = Instant::now();
                for _ in 0..count {
                    black_box(registry.increment_pending(black_box(&key)));
                }
                (started, Instant::now())
            })
        })
        .collect();
    let spans: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let started = spans.iter().map(|span| span.0).min().unwrap();
    let ended = spans.iter().map(|span| span.1).max().unwrap();
    (ended - started).as_nanos() as f64 / total as f64
}

fn pair(registry: &Registry, same_shard: bool) -> Vec<String> {
    let first = "backend-0".to_string();
    let shard = registry.backends.determine_map(first.as_str());
    let second = (1..1000)
        .map(|number| format!("backend-{number}"))
        .find(|key| (registry.backends.determine_map(key.as_str()) == shard) == same_shard)
        .expect("1,000 keys over a few shards");
    vec![first, second]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let count: u64 = arguments[2].parse().unwrap();
    let size = arguments.get(3).map_or(1000, |text| text.parse().unwrap());
    let registry = Arc::new(filled(size));
    let one = vec!["backend-7".to_string()];
    let nanoseconds = match arguments[1].as_str() {
        "increment" => run(registry, one, count),
        "one-backend" => run(registry, vec![one[0].clone(), one[0].clone()], count),
        "one-shard" => run(registry.clone(), pair(&registry, true), count),
        "two-shards" => run(registry.clone(), pair(&registry, false), count),
        name => {
            let started = Instant::now();
            for _ in 0..count {
                match name {
                    "get" => drop(black_box(registry.get_backend(black_box("backend-7")))),
                    "query" => drop(black_box(registry.get_backends_for_model(black_box("model-3")))),
                    _ => panic!("unknown measurement {name}"),
                }
            }
            started.elapsed().as_nanos() as f64 / count as f64
        }
    };
    println!("{nanoseconds}");
}
