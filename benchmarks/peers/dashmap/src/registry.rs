//! The plan's registry: a map of backends with atomic counters, and a map from each model to the ids that serve it.

// Most fields are here to be copied into the results, and no more.
#![allow(dead_code)]

use dashmap::DashMap;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::SystemTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Healthy,
    Unhealthy,
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub id: String,
    pub name: String,
    pub context_length: u32,
    pub supports_vision: bool,
    pub supports_tools: bool,
    pub supports_json_mode: bool,
    pub max_output_tokens: Option<u32>,
}

#[derive(Debug)]
pub struct Backend {
    pub id: String,
    pub name: String,
    pub url: String,
    pub backend_type: u8,
    pub status: Status,
    pub last_health_check: SystemTime,
    pub last_error: Option<String>,
    pub models: Vec<Model>,
    pub priority: i32,
    pub pending_requests: AtomicU32,
    pub total_requests: AtomicU64,
    pub avg_latency_ms: AtomicU32,
    pub discovery_source: u8,
    pub metadata: HashMap<String, String>,
}

/// What a query returns: a deep copy, independent of the registry.
#[derive(Clone, Debug)]
pub struct BackendView {
    pub id: String,
    pub name: String,
    pub url: String,
    pub backend_type: u8,
    pub status: Status,
    pub last_health_check: SystemTime,
    pub last_error: Option<String>,
    pub models: Vec<Model>,
    pub priority: i32,
    pub pending_requests: u32,
    pub total_requests: u64,
    pub avg_latency_ms: u32,
    pub discovery_source: u8,
    pub metadata: HashMap<String, String>,
}

impl Backend {
    pub fn view(&self) -> BackendView {
        BackendView {
            id: self.id.clone(),
            name: self.name.clone(),
            url: self.url.clone(),
            backend_type: self.backend_type,
            status: self.status,
            last_health_check: self.last_health_check,
            last_error: self.last_error.clone(),
            models: self.models.clone(),
            priority: self.priority,
            pending_requests: self.pending_requests.load(SeqCst),
            total_requests: self.total_requests.load(SeqCst),
            avg_latency_ms: self.avg_latency_ms.load(SeqCst),
            discovery_source: self.discovery_source,
            metadata: self.metadata.clone(),
        }
    }
}

#[derive(Debug)]
pub enum Error {
    Duplicate(String),
    NotFound(String),
}

fn not_found(id: &str) -> Error {
    Error::NotFound(id.to_string())
}

#[derive(Default)]
pub struct Registry {
    backends: DashMap<String, Backend>,
    model_index: DashMap<String, Vec<String>>,
}

impl Registry {
    pub fn add_backend(&self, backend: Backend) -> Result<(), Error> {
        if self.backends.contains_key(&backend.id) {
            return Err(Error::Duplicate(backend.id));
        }
        self.index(&backend.id, &backend.models);
        self.backends.insert(backend.id.clone(), backend);
        Ok(())
    }

    pub fn remove_backend(&self, id: &str) -> Result<Backend, Error> {
        let (_, backend) = self.backends.remove(id).ok_or_else(|| not_found(id))?;
        self.unindex(id, &backend.models);
        Ok(backend)
    }

    pub fn get_backend(&self, id: &str) -> Option<BackendView> {
        self.backends.get(id).map(|backend| backend.view())
    }

    pub fn get_all_backends(&self) -> Vec<BackendView> {
        self.backends.iter().map(|backend| backend.view()).collect()
    }

    pub fn get_healthy_backends(&self) -> Vec<BackendView> {
        let healthy = |backend: &Backend| backend.status == Status::Healthy;
        self.backends.iter().filter(|backend| healthy(backend)).map(|backend| backend.view()).collect()
    }

    pub fn get_backends_for_model(&self, model_id: &str) -> Vec<BackendView> {
        match self.model_index.get(model_id) {
            Some(ids) => ids.iter().filter_map(|id| self.get_backend(id)).collect(),
            None => Vec::new(),
        }
    }

    pub fn backend_count(&self) -> usize {
        self.backends.len()
    }

    pub fn model_count(&self) -> usize {
        self.model_index.len()
    }

    pub fn update_status(&self, id: &str, status: Status, error: Option<String>) -> Result<(), Error> {
        let mut backend = self.backends.get_mut(id).ok_or_else(|| not_found(id))?;
        backend.status = status;
        backend.last_health_check = SystemTime::now();
        backend.last_error = if status == Status::Healthy { None } else { error };
        Ok(())
    }

    pub fn update_models(&self, id: &str, models: Vec<Model>) -> Result<(), Error> {
        let mut backend = self.backends.get_mut(id).ok_or_else(|| not_found(id))?;
        self.unindex(id, &backend.models);
        self.index(id, &models);
        backend.models = models;
        Ok(())
    }

    pub fn increment_pending(&self, id: &str) -> Result<u32, Error> {
        let backend = self.backends.get(id).ok_or_else(|| not_found(id))?;
        Ok(backend.pending_requests.fetch_add(1, SeqCst) + 1)
    }

    pub fn decrement_pending(&self, id: &str) -> Result<u32, Error> {
        let backend = self.backends.get(id).ok_or_else(|| not_found(id))?;
        let before = backend.pending_requests.fetch_update(SeqCst, SeqCst, |pending| pending.checked_sub(1));
        Ok(before.map_or(0, |pending| pending - 1))
    }

    pub fn increment_total_requests(&self, id: &str) -> Result<u64, Error> {
        let backend = self.backends.get(id).ok_or_else(|| not_found(id))?;
        Ok(backend.total_requests.fetch_add(1, SeqCst) + 1)
    }

    pub fn update_latency(&self, id: &str, sample_ms: u32) -> Result<u32, Error> {
        let backend = self.backends.get(id).ok_or_else(|| not_found(id))?;
        let average = |old: u32| if old == 0 { sample_ms } else { (sample_ms + 4 * old) / 5 };
        let before = backend.avg_latency_ms.fetch_update(SeqCst, SeqCst, |old| Some(average(old)));
        Ok(before.map_or(0, average))
    }

    /// Which of the map's shards holds this id: two ids of one shard share its lock.
    pub fn shard_of(&self, id: &str) -> usize {
        self.backends.determine_map(id)
    }

    fn index(&self, id: &str, models: &[Model]) {
        for model in models {
            self.model_index.entry(model.id.clone()).or_default().push(id.to_string());
        }
    }

    fn unindex(&self, id: &str, models: &[Model]) {
        for model in models {
            if let Some(mut ids) = self.model_index.get_mut(&model.id) {
                ids.retain(|other| other != id);
                if ids.is_empty() {
                    drop(ids);
                    self.model_index.remove(&model.id);
                }
            }
        }
    }
}
