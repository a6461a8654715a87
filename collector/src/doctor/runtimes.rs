//! The container runtimes, each asked once, and whose containers are seen.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::kernel::cgroup::{Hierarchies, LONGEST_PATH, scan};
use crate::runtime::reachability::{Examined, examine, missed};
use crate::sample::identity::Runtime;

/// What was found out about the runtimes.
#[derive(Clone, Debug, Default)]
pub struct RuntimeFacts {
    /// Those that are asked at all, each with the outcome.
    pub examined: Vec<Examined>,
    /// How many containers of each are seen, by their paths.
    pub seen: BTreeMap<Runtime, usize>,
}

/// Asks every runtime once and looks at the paths of all cgroups. Takes some seconds where one does not answer.
pub(super) fn gather(config: &Config) -> RuntimeFacts {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let examined = runtime.map(|runtime| {
        let examined = runtime.block_on(examine(&config.runtimes));
        runtime.shutdown_background();
        examined
    });
    let mut seen = BTreeMap::new();
    if let Ok(hierarchies) = Hierarchies::detect(&config.roots) {
        let mut names = std::collections::BTreeSet::new();
        for hierarchy in &hierarchies {
            // What is said of a hierarchy that cannot be read is said elsewhere.
            let _ = scan(hierarchy, LONGEST_PATH, |name, _| {
                names.extend(missed(name).map(|runtime| (runtime, name.to_vec())));
            });
        }
        for (runtime, _) in names {
            *seen.entry(runtime).or_default() += 1;
        }
    }
    RuntimeFacts { examined: examined.unwrap_or_default(), seen }
}
