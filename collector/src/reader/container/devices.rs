//! Names of block devices by their numbers, looked up when first met.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::kernel::procfs::process::block_device_name;

/// Names by device number, shared by all sampling threads.
#[derive(Debug)]
pub struct DeviceNames {
    sys: PathBuf,
    names: RwLock<HashMap<(u32, u32), Arc<str>>>,
}

impl DeviceNames {
    /// Looks names up below this sysfs.
    pub fn new(sys: PathBuf) -> Self {
        Self { sys, names: RwLock::default() }
    }

    /// `/dev/...`, or empty when the machine has no device of this number.
    pub fn get(&self, major: u32, minor: u32) -> Arc<str> {
        let known = self.names.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = known.get(&(major, minor)) {
            return Arc::clone(name);
        }
        drop(known);
        let found = block_device_name(&self.sys, major, minor).map(|name| format!("/dev/{name}"));
        let name: Arc<str> = found.unwrap_or_default().into();
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(names.entry((major, minor)).or_insert(name))
    }

    /// Forgets every name: devices came or went, and a number may mean another one now.
    pub fn forget(&self) {
        self.names.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
