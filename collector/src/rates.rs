//! Two samples of one container as rates. Pure, without state.

use crate::sample::container::{Cpu, Sample};
use crate::sample::unread::Part;
use crate::units::{Nanos, WallTime};

/// How fast a container used CPU time between two samples: nanoseconds of CPU time per second, that is nanocores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuRates {
    /// All of it.
    pub total: u64,
    /// By CPU; empty where the kernel does not report it.
    pub per_cpu: Vec<u64>,
    /// In user mode; absent where one of the samples has none.
    pub user: Option<u64>,
    /// In kernel mode; absent where one of the samples has none.
    pub system: Option<u64>,
}

/// The CPU use between two samples. `None` when one of them has no CPU time, when no time lies between them, when the
/// CPUs are others, or when a counter fell: then it was reset in between.
pub fn cpu(before: &Sample, after: &Sample) -> Option<CpuRates> {
    let elapsed = Elapsed::between(before.at, after.at)?;
    if before.unread.has(Part::CpuTotal) || after.unread.has(Part::CpuTotal) {
        return None;
    }
    let (before, after) = (before.cpu.as_ref()?, after.cpu.as_ref()?);
    let (cpus_before, cpus_after) = (per_cpu(before), per_cpu(after));
    if cpus_before.len() != cpus_after.len() {
        return None;
    }
    elapsed.rates(before, after, cpus_before.iter().zip(cpus_after)).ok()
}

/// All CPU time used between two samples, in nanoseconds per second, whatever the CPUs: one may have been switched off in
/// between. `None` when one of the samples has no CPU time, when no time lies between them, or when the counter fell.
pub fn cpu_total(before: &Sample, after: &Sample) -> Option<u64> {
    let elapsed = Elapsed::between(before.at, after.at)?;
    elapsed.rate(before.cpu.as_ref()?.total, after.cpu.as_ref()?.total).ok()
}

fn per_cpu(cpu: &Cpu) -> &[Nanos] {
    cpu.per_cpu.as_deref().unwrap_or_default()
}

/// Nanoseconds, more than none.
#[derive(Clone, Copy)]
struct Elapsed(u64);

impl Elapsed {
    fn between(before: WallTime, after: WallTime) -> Option<Self> {
        let nanos = after.since(before).0;
        (nanos > 0).then_some(Self(nanos))
    }

    fn rates<'a>(
        self,
        before: &Cpu,
        after: &Cpu,
        cpus: impl Iterator<Item = (&'a Nanos, &'a Nanos)>,
    ) -> Result<CpuRates, Fell> {
        Ok(CpuRates {
            total: self.rate(before.total, after.total)?,
            per_cpu: cpus.map(|(before, after)| self.rate(*before, *after)).collect::<Result<_, _>>()?,
            user: self.rate_where_known(before.user, after.user)?,
            system: self.rate_where_known(before.system, after.system)?,
        })
    }

    fn rate(self, before: Nanos, after: Nanos) -> Result<u64, Fell> {
        let used = after.0.checked_sub(before.0).ok_or(Fell)?;
        // In the order of cAdvisor's operations, so that the last digit is the same.
        Ok((used as f64 / self.0 as f64 * 1e9) as u64)
    }

    fn rate_where_known(self, before: Option<Nanos>, after: Option<Nanos>) -> Result<Option<u64>, Fell> {
        before.zip(after).map(|(before, after)| self.rate(before, after)).transpose()
    }
}

/// A counter is smaller than before.
struct Fell;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(millis: u64, total: u64, cpus: &[u64]) -> Sample {
        let per_cpu = (!cpus.is_empty()).then(|| cpus.iter().copied().map(Nanos).collect());
        let cpu = Cpu { total: Nanos(total), per_cpu, user: Some(Nanos(total / 2)), ..Cpu::default() };
        Sample { at: WallTime(millis * 1_000_000), cpu: Some(cpu), ..Sample::default() }
    }

    #[test]
    fn used_per_second() {
        let rates = cpu(&sample(1000, 5_000, &[1_000, 4_000]), &sample(3000, 3_000_005_000, &[3_001_000, 4_000]));
        let expected =
            CpuRates { total: 1_500_000_000, per_cpu: vec![1_500_000, 0], user: Some(750_000_000), system: None };
        assert_eq!(rates, Some(expected));
        let third = cpu(&sample(0, 0, &[]), &sample(3, 1, &[])).unwrap();
        assert_eq!((third.total, third.user), (333, Some(0)));
    }

    #[test]
    fn no_rate_without_two_comparable_samples() {
        let base = sample(1000, 100, &[50, 50]);
        let cases = [
            sample(1000, 100, &[50, 50]),
            sample(999, 200, &[50, 50]),
            sample(2000, 99, &[50, 50]),
            sample(2000, 200, &[50, 49]),
            sample(2000, 200, &[50, 50, 50]),
            Sample { at: WallTime(2_000_000_000), ..Sample::default() },
        ];
        for after in cases {
            assert_eq!(cpu(&base, &after), None, "{after:?}");
        }
        assert_eq!(cpu_total(&base, &sample(2000, 200, &[200])), Some(100), "a CPU was switched off");
        assert_eq!(cpu_total(&base, &sample(2000, 99, &[])), None);
        assert_eq!(cpu(&Sample::default(), &base), None);
    }
}
