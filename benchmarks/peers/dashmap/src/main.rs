//! The registry on DashMap as a benchmark peer. Each run of the program makes one measurement.
//!
//!     dashmap-peer answer NAME SIZE
//!         The answer of the operation, as JSON.
//!     dashmap-peer cost NAME SIZE COUNT
//!         Nanoseconds per operation in one thread.
//!     dashmap-peer throughput NAME WHERE THREADS WRITES COUNT
//!         Operations a second of all threads together. Each thread does COUNT operations, WRITES
//!         percent of them writes. WHERE is same, distinct, one-shard or two-shards.
//!     dashmap-peer latency NAME COUNT QUANTILE...
//!         Quantiles of the nanoseconds of a call while another thread writes.
//!     dashmap-peer churn SIZE COUNT
//!         Nanoseconds per removal and addition of a backend, all over the fleet.
//!     dashmap-peer memory SIZE
//!         Bytes per backend.

mod fleet;
mod registry;

use fleet::{backend, change, filled, id, pair};
use registry::{BackendView, Registry, Status};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

const MODEL: &str = "model-3";
const FLEET: usize = 1000;

/// One call of the operation.
fn call(registry: &Registry, name: &str, key: &str, size: usize) {
    match name {
        "get" => drop(black_box(registry.get_backend(black_box(key)))),
        "query" => drop(black_box(registry.get_backends_for_model(black_box(MODEL)))),
        "all" => drop(black_box(registry.get_all_backends())),
        "count" => drop(black_box(registry.backend_count())),
        "increment" => drop(black_box(registry.increment_pending(black_box(key)))),
        "up-and-down" => {
            black_box(registry.increment_pending(black_box(key)));
            black_box(registry.decrement_pending(black_box(key)));
        }
        "total" => drop(black_box(registry.increment_total_requests(black_box(key)))),
        "latency" => drop(black_box(registry.update_latency(black_box(key), black_box(150)))),
        "status" => drop(black_box(registry.update_status(black_box(key), Status::Healthy))),
        "add-and-remove" => {
            registry.add_backend(backend(size));
            black_box(registry.remove_backend(&id(size)));
        }
        _ => panic!("unknown operation {name}"),
    }
}

fn shown(view: &BackendView) -> String {
    let status = match view.status {
        Status::Unknown => "unknown",
        Status::Healthy => "healthy",
    };
    let counts = (view.pending_requests, view.total_requests, view.avg_latency_ms);
    format!("[\"{}\", \"{status}\", {}, {}, {}]", view.id, counts.0, counts.1, counts.2)
}

fn all_shown(views: Vec<BackendView>) -> String {
    let mut texts: Vec<_> = views.iter().map(shown).collect();
    texts.sort();
    format!("[{}]", texts.join(", "))
}

fn answer(name: &str, size: usize) -> String {
    let (registry, key) = (filled(size), id(size / 2));
    match name {
        "get" => shown(&registry.get_backend(&key).unwrap()),
        "query" => all_shown(registry.get_backends_for_model(MODEL)),
        "all" => all_shown(registry.get_all_backends()),
        "count" => registry.backend_count().to_string(),
        "increment" => registry.increment_pending(&key).unwrap().to_string(),
        "up-and-down" => {
            let (up, down) = (registry.increment_pending(&key), registry.decrement_pending(&key));
            format!("[{}, {}]", up.unwrap(), down.unwrap())
        }
        "total" => registry.increment_total_requests(&key).unwrap().to_string(),
        "latency" => registry.update_latency(&key, 150).unwrap().to_string(),
        "status" => {
            registry.update_status(&key, Status::Healthy).then_some("null").unwrap().to_string()
        }
        "add-and-remove" => {
            let extra = id(size);
            registry.add_backend(backend(size));
            let found = registry.get_backend(&extra).unwrap().id;
            let with = registry.get_backends_for_model(MODEL).len();
            let removed = registry.remove_backend(&extra).unwrap().id;
            assert!(registry.get_backend(&extra).is_none());
            let without = registry.get_backends_for_model(MODEL).len();
            format!("[null, \"{found}\", {with}, \"{removed}\", null, {without}]")
        }
        _ => panic!("unknown operation {name}"),
    }
}

fn cost(name: &str, size: usize, count: usize) -> f64 {
    let (registry, key) = (filled(size), id(size / 2));
    let started = Instant::now();
    for _ in 0..count {
        call(&registry, name, &key, size);
    }
    started.elapsed().as_nanos() as f64 / count as f64
}

/// The time is from the first start to the last end, as the working threads read the clock: the
/// main thread may wake up later than a run takes.
fn throughput(name: &str, place: &str, threads: usize, writes: usize, count: usize) -> f64 {
    let registry = Arc::new(filled(FLEET));
    let keys: Vec<String> = match place {
        "same" => vec![id(FLEET / 2); threads],
        "distinct" => (0..threads).map(|index| id(FLEET / 2 + 7 * index)).collect(),
        shards => pair(&registry, shards == "one-shard"),
    };
    let barrier = Arc::new(Barrier::new(keys.len()));
    let handles: Vec<_> = keys
        .into_iter()
        .enumerate()
        .map(|(index, key)| {
            let (registry, barrier, name) = (registry.clone(), barrier.clone(), name.to_string());
            std::thread::spawn(move || {
                barrier.wait();
                let started = Instant::now();
                let mut step = 0;
                for turn in 0..count {
                    if turn % 100 < writes {
                        change(&registry, FLEET + 16 * index, step);
                        step += 1;
                    } else {
                        call(&registry, &name, &key, FLEET);
                    }
                }
                (started, Instant::now())
            })
        })
        .collect();
    let spans: Vec<_> = handles.into_iter().map(|thread| thread.join().unwrap()).collect();
    let started = spans.iter().map(|span| span.0).min().unwrap();
    let ended = spans.iter().map(|span| span.1).max().unwrap();
    (count * spans.len()) as f64 / (ended - started).as_secs_f64()
}

fn latency(name: &str, count: usize, quantiles: &[f64]) -> Vec<u64> {
    let (registry, key) = (Arc::new(filled(FLEET)), id(FLEET / 2));
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (registry, stop) = (registry.clone(), stop.clone());
        std::thread::spawn(move || {
            let mut step = 0;
            while !stop.load(Relaxed) {
                change(&registry, FLEET, step);
                step += 1;
            }
        })
    };
    std::thread::sleep(Duration::from_millis(10));
    let mut samples: Vec<u64> = (0..count)
        .map(|_| {
            let started = Instant::now();
            call(&registry, name, &key, FLEET);
            started.elapsed().as_nanos() as u64
        })
        .collect();
    stop.store(true, Relaxed);
    writer.join().unwrap();
    samples.sort_unstable();
    let index = |quantile: &f64| ((count - 1) as f64 * quantile).round() as usize;
    quantiles.iter().map(|quantile| samples[index(quantile)]).collect()
}

fn churn(size: usize, count: usize) -> f64 {
    let registry = filled(size);
    let started = Instant::now();
    for turn in 0..count {
        let number = turn.wrapping_mul(7919) % size; // multiples of a prime, all over the fleet
        registry.remove_backend(&id(number));
        registry.add_backend(backend(number));
    }
    started.elapsed().as_nanos() as f64 / count as f64
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |index: usize| arguments[index].as_str();
    let number = |index: usize| arguments[index].parse::<usize>().unwrap();
    match text(0) {
        "answer" => println!("{}", answer(text(1), number(2))),
        "cost" => println!("{}", cost(text(1), number(2), number(3))),
        "throughput" => {
            println!("{}", throughput(text(1), text(2), number(3), number(4), number(5)))
        }
        "latency" => {
            let quantiles: Vec<f64> =
                arguments[3..].iter().map(|text| text.parse().unwrap()).collect();
            println!("{:?}", latency(text(1), number(2), &quantiles));
        }
        "churn" => println!("{}", churn(number(1), number(2))),
        "memory" => {
            let before = resident();
            let registry = filled(number(1));
            println!("{}", (resident() - before) as f64 / number(1) as f64);
            drop(registry);
        }
        command => panic!("unknown command {command}"),
    }
}
