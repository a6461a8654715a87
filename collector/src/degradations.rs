//! What the collector has to do without at the moment: for the log, the health report, the page and the metric. It
//! imports nothing of ours, so that whoever finds something missing can report it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

/// The facilities that are missing, each with its reason in words: cause, what is lost, and the fix. Clones share one
/// list.
#[derive(Clone, Debug, Default)]
pub struct Degradations(Arc<Mutex<BTreeMap<String, String>>>);

impl Degradations {
    /// Reports that a facility is missing. Logged once, and again only when the reason changes.
    pub fn set(&self, facility: &dyn Display, reason: &dyn Display) {
        let (facility, reason) = (facility.to_string(), reason.to_string());
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.get(&facility) == Some(&reason) {
            return;
        }
        tracing::warn!(facility, %reason, "degraded");
        list.insert(facility, reason);
    }

    /// Reports that a facility is there (again).
    pub fn clear(&self, facility: &dyn Display) {
        let facility = facility.to_string();
        let removed = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&facility);
        if removed.is_some() {
            tracing::info!(facility, "no longer degraded");
        }
    }

    /// What is missing, as values of the label `facility`.
    pub fn facilities(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Why, one line each.
    pub fn reasons(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_no_longer_listed() {
        let degradations = Degradations::default();
        let elsewhere = degradations.clone();
        elsewhere.set(&"runtime_docker", &"Docker cannot be reached: connection refused");
        elsewhere.set(&"pressure", &"no PSI");
        elsewhere.set(&"pressure", &"PSI is off: boot with psi=1");
        assert_eq!(degradations.facilities(), ["pressure", "runtime_docker"]);
        assert_eq!(degradations.reasons()[0], "PSI is off: boot with psi=1");
        degradations.clear(&"runtime_docker");
        degradations.clear(&"runtime_docker");
        assert_eq!(elsewhere.facilities(), ["pressure"]);
    }
}
