//! What pods keep on the node, by their uids.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sample::pods::PodFiles;

/// The files of every pod that has a directory.
#[derive(Debug, Default)]
pub struct Pods(Mutex<BTreeMap<String, Arc<PodFiles>>>);

impl Pods {
    /// What is known of all of them.
    pub fn all(&self) -> BTreeMap<String, Arc<PodFiles>> {
        self.lock().clone()
    }

    /// Keeps what was found of one.
    pub fn set(&self, uid: &str, files: PodFiles) {
        self.lock().insert(uid.to_owned(), Arc::new(files));
    }

    /// Forgets all but these.
    pub fn keep(&self, uids: &BTreeSet<String>) {
        self.lock().retain(|uid, _| uids.contains(uid));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<PodFiles>>> {
        // Nothing is left half done under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_forgotten() {
        let pods = Pods::default();
        pods.set("a", PodFiles::default());
        pods.set("b", PodFiles::default());
        pods.keep(&BTreeSet::from(["b".to_owned(), "c".to_owned()]));
        assert_eq!(pods.all().into_keys().collect::<Vec<_>>(), ["b"]);
    }
}
