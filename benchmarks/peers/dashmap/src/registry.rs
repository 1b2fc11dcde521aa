//! A registry with two DashMaps and sequentially consistent atomics, which clones each result.

// Views clone fields that this program never reads.
#![allow(dead_code)]

use dashmap::DashMap;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::SystemTime;

#[derive(Clone)]
pub struct Model {
    pub id: String,
    pub name: String,
    pub context_length: u32,
    pub supports_vision: bool,
    pub supports_tools: bool,
    pub supports_json_mode: bool,
    pub max_output_tokens: Option<u32>,
}

#[derive(Clone, Copy)]
pub enum Status {
    Unknown,
    Healthy,
}

pub struct Backend {
    pub id: String,
    pub name: String,
    pub url: String,
    pub status: Status,
    pub last_health_check: SystemTime,
    pub last_error: Option<String>,
    pub models: Vec<Model>,
    pub priority: i32,
    pub pending_requests: AtomicU32,
    pub total_requests: AtomicU64,
    pub avg_latency_ms: AtomicU32,
    pub metadata: HashMap<String, String>,
}

pub struct BackendView {
    pub id: String,
    pub name: String,
    pub url: String,
    pub status: Status,
    pub last_health_check: SystemTime,
    pub last_error: Option<String>,
    pub models: Vec<Model>,
    pub priority: i32,
    pub pending_requests: u32,
    pub total_requests: u64,
    pub avg_latency_ms: u32,
    pub metadata: HashMap<String, String>,
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
pub struct Registry {
    backends: DashMap<String, Backend>,
    model_index: DashMap<String, Vec<String>>,
}

impl Registry {
    pub fn add_backend(&self, backend: Backend) {
        for model in &backend.models {
            self.model_index.entry(model.id.clone()).or_default().push(backend.id.clone());
        }
        self.backends.insert(backend.id.clone(), backend);
    }

    pub fn remove_backend(&self, id: &str) -> Option<BackendView> {
        let (_, backend) = self.backends.remove(id)?;
        for model in &backend.models {
            if let Some(mut ids) = self.model_index.get_mut(&model.id) {
                ids.retain(|other| other != id);
            }
        }
        Some(BackendView::from(&backend))
    }

    pub fn get_backend(&self, id: &str) -> Option<BackendView> {
        self.backends.get(id).map(|b| BackendView::from(b.value()))
    }

    pub fn get_all_backends(&self) -> Vec<BackendView> {
        self.backends.iter().map(|b| BackendView::from(b.value())).collect()
    }

    pub fn get_backends_for_model(&self, model: &str) -> Vec<BackendView> {
        match self.model_index.get(model) {
            Some(ids) => ids.iter().filter_map(|id| self.get_backend(id)).collect(),
            None => Vec::new(),
        }
    }

    pub fn shard(&self, id: &str) -> usize {
        self.backends.determine_map(id)
    }

    pub fn backend_count(&self) -> usize {
        self.backends.len()
    }

    pub fn update_status(&self, id: &str, status: Status) -> bool {
        self.backends
            .get_mut(id)
            .map(|mut b| {
                b.status = status;
                b.last_health_check = SystemTime::now();
                b.last_error = None;
            })
            .is_some()
    }

    pub fn increment_pending(&self, id: &str) -> Option<u32> {
        self.backends.get(id).map(|b| b.pending_requests.fetch_add(1, SeqCst) + 1)
    }

    pub fn decrement_pending(&self, id: &str) -> Option<u32> {
        let step = |count: u32| Some(count.saturating_sub(1));
        self.backends.get(id).map(|b| {
            b.pending_requests.fetch_update(SeqCst, SeqCst, step).unwrap().saturating_sub(1)
        })
    }

    pub fn increment_total_requests(&self, id: &str) -> Option<u64> {
        self.backends.get(id).map(|b| b.total_requests.fetch_add(1, SeqCst) + 1)
    }

    /// Returns the new average. An average of 0 means that there was no sample.
    pub fn update_latency(&self, id: &str, sample: u32) -> Option<u32> {
        let next = |average: u32| if average == 0 { sample } else { (sample + 4 * average) / 5 };
        self.backends.get(id).map(|b| {
            let update = |average| Some(next(average));
            next(b.avg_latency_ms.fetch_update(SeqCst, SeqCst, update).unwrap())
        })
    }
}
