//! A container's sample against the kernel's files, read before and after it: what is said must lie between.

use super::api::{Container, Stats};
use super::collector::Collector;
use super::time::Time;
use super::{Context as _, Result, ensure, wait};

/// Reads a value where the kernel shows it.
type Kernel<'a> = Box<dyn Fn() -> Result<u64> + 'a>;
/// Finds the same value in a sample.
type Said<'a> = Box<dyn Fn(&Stats) -> Option<u64> + 'a>;

/// Values to compare.
#[derive(Default)]
pub(crate) struct Comparison<'a> {
    values: Vec<(&'static str, Kernel<'a>, Said<'a>, u64)>,
}

impl<'a> Comparison<'a> {
    /// Adds a value that must lie between the two readings.
    pub(crate) fn value(
        self,
        what: &'static str,
        kernel: impl Fn() -> Result<u64> + 'a,
        said: impl Fn(&Stats) -> Option<u64> + 'a,
    ) -> Self {
        self.within(0, what, kernel, said)
    }

    /// Adds a value that may lie a little outside of the two readings.
    pub(crate) fn within(
        mut self,
        slack: u64,
        what: &'static str,
        kernel: impl Fn() -> Result<u64> + 'a,
        said: impl Fn(&Stats) -> Option<u64> + 'a,
    ) -> Self {
        self.values.push((what, Box::new(kernel), Box::new(said), slack));
        self
    }

    /// Compares all values with one sample of a container.
    pub(crate) fn check(&self, collector: &Collector, name: &str) -> Result<()> {
        let read = || -> Result<Vec<u64>> {
            self.values
                .iter()
                .map(|(what, kernel, ..)| kernel().with_context(|| format!("the kernel's {what}")))
                .collect()
        };
        let before = read()?;
        let stats = fresh(collector, name)?.1;
        let after = read()?;
        let mut wrong = Vec::new();
        for ((what, _, said, slack), (before, after)) in self.values.iter().zip(before.into_iter().zip(after)) {
            let range = before.min(after).saturating_sub(*slack)..=before.max(after).saturating_add(*slack);
            match said(&stats) {
                None => wrong.push(format!("{what} is absent, the kernel says {before} to {after}")),
                Some(value) if !range.contains(&value) => {
                    wrong.push(format!("{what} is {value}, the kernel says {before} to {after}"));
                }
                Some(_) => {}
            }
        }
        ensure!(wrong.is_empty(), "{name}: {}", wrong.join("; "));
        Ok(())
    }
}

/// A container with a sample of which every file was read after this call.
pub(crate) fn fresh(collector: &Collector, name: &str) -> Result<(Container, Stats)> {
    let start = Time::now_nanos();
    wait::eventually(wait::seconds(10), || {
        let container = collector.container(name)?;
        // A sample's time is that of its last read: only the next one was begun after `start` for certain.
        let mut later = container.stats.iter().filter(|stats| stats.timestamp.nanos > start);
        let stats = later.nth(1).cloned();
        let stats = stats.with_context(|| format!("{name} has no fresh sample among {}", container.stats.len()))?;
        Ok((container, stats))
    })
}
