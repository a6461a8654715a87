//! Which cgroups a process is in, asked of the kernel by whoever may.

use std::fmt;
use std::sync::Arc;

/// Which cgroups a process of the machine is in.
pub(super) type LookAtProcess = Arc<dyn Fn(u32) -> Vec<Vec<u8>> + Send + Sync>;

/// Which cgroups a process is in; `None` where that cannot be compared with the names of cgroups.
#[derive(Clone, Default)]
pub struct CgroupsOf(Option<LookAtProcess>);

impl CgroupsOf {
    /// By this function.
    pub fn new(look: Option<impl Fn(u32) -> Vec<Vec<u8>> + Send + Sync + 'static>) -> Self {
        Self(look.map(|look| Arc::new(look) as _))
    }

    pub(super) fn look(&self) -> Option<LookAtProcess> {
        self.0.clone()
    }
}

impl fmt::Debug for CgroupsOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CgroupsOf").field(&self.0.is_some()).finish()
    }
}
