//! Times one operation of the plan's design and prints the result as one line of JSON.
//!
//! Usage: dashmap-peer OPERATION [--backends N] [--models N] [--threads N] [--calls N] [--keys one|shard|apart]

mod registry;

use registry::{Backend, Model, Registry, Status};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::Barrier;
use std::time::{Instant, SystemTime};

struct Options {
    operation: String,
    backends: usize,
    models: usize,
    threads: usize,
    calls: usize,
    keys: String,
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let operation = arguments.next().ok_or("no operation given")?;
    let mut options =
        Options { operation, backends: 1000, models: 10, threads: 1, calls: 1000, keys: "one".to_string() };
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or(format!("{flag} needs a value"))?;
        let number = || value.parse::<usize>().map_err(|_| format!("{flag} needs a number, not {value}"));
        match flag.as_str() {
            "--backends" => options.backends = number()?,
            "--models" => options.models = number()?,
            "--threads" => options.threads = number()?,
            "--calls" => options.calls = number()?,
            "--keys" => options.keys = value,
            _ => return Err(format!("unknown option {flag}")),
        }
    }
    Ok(options)
}

/// The same fleet as `benchmarks/operations.py`: every backend serves the same models, and has no metadata.
fn model(number: usize) -> Model {
    let id = format!("model-{number}");
    Model {
        name: id.clone(),
        id,
        context_length: 4096,
        supports_vision: false,
        supports_tools: false,
        supports_json_mode: false,
        max_output_tokens: None,
    }
}

fn backend(number: usize, models: usize) -> Backend {
    let id = format!("backend-{number:06}");
    Backend {
        name: id.clone(),
        url: format!("http://{id}.example:8000"),
        id,
        backend_type: 0,
        status: Status::Unknown,
        last_health_check: SystemTime::now(),
        last_error: None,
        models: (0..models).map(model).collect(),
        priority: 0,
        pending_requests: AtomicU32::new(0),
        total_requests: AtomicU64::new(0),
        avg_latency_ms: AtomicU32::new(0),
        discovery_source: 0,
        metadata: HashMap::new(),
    }
}

/// One id for each thread: all the same, or all of one shard, or each of a shard of its own.
fn choose_keys(registry: &Registry, options: &Options) -> Result<Vec<String>, String> {
    let all: Vec<String> = (0..options.backends).map(|number| format!("backend-{number:06}")).collect();
    let first = registry.shard_of(&all[0]);
    let mut seen = Vec::new();
    let fits = |id: &String| {
        let shard = registry.shard_of(id);
        let fresh = !seen.contains(&shard);
        seen.push(shard);
        (options.keys == "shard" && shard == first) || (options.keys == "apart" && fresh)
    };
    let keys: Vec<String> = match options.keys.as_str() {
        "one" => vec![all[0].clone(); options.threads],
        "shard" | "apart" => all.iter().cloned().filter(fits).take(options.threads).collect(),
        other => return Err(format!("--keys must be one, shard or apart, not {other}")),
    };
    if keys.len() < options.threads {
        return Err(format!("{} backends give too few keys for {} threads", options.backends, options.threads));
    }
    Ok(keys)
}

fn repeat<T>(calls: usize, call: impl Fn() -> T) {
    for _ in 0..calls {
        black_box(call());
    }
}

fn run(registry: &Registry, operation: &str, key: &str, models: usize, calls: usize) -> Result<(), String> {
    let key = black_box(key);
    match operation {
        "increment_pending" => repeat(calls, || registry.increment_pending(key)),
        "decrement_pending" => repeat(calls, || registry.decrement_pending(key)),
        "increment_total_requests" => repeat(calls, || registry.increment_total_requests(key)),
        "update_latency" => repeat(calls, || registry.update_latency(key, 100)),
        "get_backend" => repeat(calls, || registry.get_backend(key)),
        "get_all_backends" => repeat(calls, || registry.get_all_backends()),
        "get_healthy_backends" => repeat(calls, || registry.get_healthy_backends()),
        "get_backends_for_model" => repeat(calls, || registry.get_backends_for_model("model-0")),
        "backend_count" => repeat(calls, || registry.backend_count()),
        "model_count" => repeat(calls, || registry.model_count()),
        "update_status" => repeat(calls, || registry.update_status(key, Status::Unhealthy, Some("down".to_string()))),
        "update_models" => repeat(calls, || registry.update_models(key, (0..models).map(model).collect())),
        "remove_backend + add_backend" => repeat(calls, || {
            let removed = registry.remove_backend(key).expect("the key is registered");
            registry.add_backend(removed)
        }),
        other => return Err(format!("unknown operation {other}")),
    }
    Ok(())
}

/// Nanoseconds from the first thread's start to the last one's end.
fn time(registry: &Registry, options: &Options, keys: &[String]) -> Result<u128, String> {
    let barrier = Barrier::new(options.threads);
    let warm_up = options.calls / 20 + 1;
    let spans: Vec<Result<(Instant, Instant), String>> = std::thread::scope(|scope| {
        let work = |key| {
            let barrier = &barrier;
            move || {
                let warm = run(registry, &options.operation, key, options.models, warm_up);
                barrier.wait();
                let start = Instant::now();
                warm.and_then(|()| run(registry, &options.operation, key, options.models, options.calls))?;
                Ok((start, Instant::now()))
            }
        };
        let threads: Vec<_> = keys.iter().map(|key| scope.spawn(work(key))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    let spans = spans.into_iter().collect::<Result<Vec<_>, _>>()?;
    let start = spans.iter().map(|span| span.0).min().ok_or("no thread")?;
    let end = spans.iter().map(|span| span.1).max().ok_or("no thread")?;
    Ok((end - start).as_nanos())
}

fn measure() -> Result<String, String> {
    let options = parse(std::env::args().skip(1))?;
    let registry = Registry::default();
    for number in 0..options.backends {
        registry.add_backend(backend(number, options.models)).map_err(|error| format!("{error:?}"))?;
        let id = format!("backend-{number:06}");
        registry.update_status(&id, Status::Healthy, None).map_err(|error| format!("{error:?}"))?;
    }
    let keys = choose_keys(&registry, &options)?;
    let nanoseconds = time(&registry, &options, &keys)?;
    let Options { operation, backends, threads, calls, keys, .. } = options;
    Ok(format!(
        "{{\"operation\": \"{operation}\", \"backends\": {backends}, \"threads\": {threads}, \"keys\": \"{keys}\", \
         \"calls\": {calls}, \"nanoseconds\": {nanoseconds}}}"
    ))
}

fn main() {
    match measure() {
        Ok(line) => println!("{line}"),
        Err(problem) => {
            eprintln!("dashmap-peer: {problem}");
            std::process::exit(2);
        }
    }
}
