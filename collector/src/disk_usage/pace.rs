//! How fast files may be looked at: all threads that do so have one small share of one CPU between them.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::kernel::storage::idle::own_cpu_time;

/// One in so many nanoseconds: a little under 1 %, so that with what is saved up no minute has more than that.
const SHARE: u32 = 111;
/// CPU time that may be saved up, so that a small tree is counted at once.
const SAVED_AT_MOST: Duration = Duration::from_millis(50);
/// CPU time is accounted for in pieces of about this size: a thread that slept costs something to wake up.
const PIECE: Duration = Duration::from_millis(1);
/// The clock is looked at once in so many steps.
const STEPS: u32 = 32;
/// Longest sleep without looking whether everything ends.
const NAP: Duration = Duration::from_millis(200);

/// An amount of CPU time that grows with time, up to a bound, and shrinks with use, also below nothing.
#[derive(Debug)]
struct Account {
    nanos: i128,
    at: Instant,
}

impl Account {
    fn new(now: Instant) -> Self {
        Self { nanos: nanos(SAVED_AT_MOST), at: now }
    }

    /// Takes what was used out of the account; how long to wait until nothing is owed.
    fn charge(&mut self, now: Instant, used: Duration) -> Duration {
        let earned = nanos(now.saturating_duration_since(self.at)) / i128::from(SHARE);
        self.at = now;
        self.nanos = (self.nanos + earned).min(nanos(SAVED_AT_MOST)) - nanos(used);
        let owed = u64::try_from(-self.nanos).unwrap_or(0);
        Duration::from_nanos(owed).saturating_mul(SHARE)
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

/// What the threads share.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    account: Arc<Mutex<Account>>,
    stopping: Arc<AtomicBool>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { account: Arc::new(Mutex::new(Account::new(Instant::now()))), stopping: Arc::default() }
    }

    /// Lets whoever sleeps wake up and end.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// One thread's use of the budget.
#[derive(Debug)]
pub(super) struct Pace {
    budget: Budget,
    steps: u32,
    accounted: Duration,
    /// What one job may use, and what the thread had used when the job began.
    limit: Option<Duration>,
    began: Duration,
    reached: Reached,
}

/// How far a job came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Its end.
    End,
    /// What one job may use: the rest is for another thread.
    Limit,
}

impl Pace {
    /// For the calling thread.
    pub(super) fn new(budget: Budget) -> Self {
        let now = own_cpu_time();
        Self { budget, steps: 0, accounted: now, limit: None, began: now, reached: Reached::End }
    }

    /// For the calling thread, which gives up jobs that use more than this.
    pub(super) fn with_limit(budget: Budget, limit: Duration) -> Self {
        Self { limit: Some(limit), ..Self::new(budget) }
    }

    /// A job begins.
    pub(super) fn begin(&mut self) {
        (self.began, self.reached) = (own_cpu_time(), Reached::End);
    }

    /// How far it came.
    pub(super) fn reached(&self) -> Reached {
        self.reached
    }

    /// One file was looked at. Sleeps when the share is used up; breaks when everything ends.
    pub(super) fn step(&mut self) -> ControlFlow<()> {
        self.steps += 1;
        if self.steps < STEPS {
            return ControlFlow::Continue(());
        }
        self.steps = 0;
        if self.limit.is_some_and(|limit| own_cpu_time().saturating_sub(self.began) > limit) {
            self.reached = Reached::Limit;
            return ControlFlow::Break(());
        }
        self.settle(PIECE)
    }

    /// Accounts for what this thread has used, if that is at least so much.
    pub(super) fn settle(&mut self, at_least: Duration) -> ControlFlow<()> {
        let cpu = own_cpu_time();
        let used = cpu.saturating_sub(self.accounted);
        if used < at_least {
            return ControlFlow::Continue(());
        }
        self.accounted = cpu;
        let now = Instant::now();
        let pause = self.budget.account.lock().unwrap_or_else(PoisonError::into_inner).charge(now, used);
        let end = now + pause;
        loop {
            if self.budget.is_stopping() {
                return ControlFlow::Break(());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return ControlFlow::Continue(());
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_saved_is_spent_first_and_what_is_owed_is_waited_for() {
        let start = Instant::now();
        let mut account = Account::new(start);
        assert_eq!(account.charge(start, SAVED_AT_MOST), Duration::ZERO);
        assert_eq!(account.charge(start, Duration::from_millis(1)), Duration::from_millis(111));
        let paid = start + Duration::from_millis(111);
        assert_eq!(account.charge(paid, Duration::ZERO), Duration::ZERO);
        let rested = paid + Duration::from_secs(1000);
        assert_eq!(account.charge(rested, SAVED_AT_MOST + Duration::from_millis(1)), Duration::from_millis(111));
    }

    #[test]
    fn a_job_that_uses_too_much_is_given_up() {
        let mut pace = Pace::with_limit(Budget::new(), Duration::from_millis(1));
        pace.begin();
        while pace.step().is_continue() {}
        assert_eq!(pace.reached(), Reached::Limit);
        pace.begin();
        assert!(pace.step().is_continue() && pace.reached() == Reached::End, "the next one has its own");
    }

    proptest! {
        /// Whoever waits as asked has used no more than 1 % of any minute.
        #[test]
        fn no_minute_has_more_than_its_share(used in prop::collection::vec(0..20_000_u64, 1..400), idle in 0..5_000_u64) {
            let start = Instant::now();
            let mut account = Account::new(start);
            let mut now = start;
            let mut log = Vec::new();
            for (turn, micros) in used.into_iter().enumerate() {
                let used = Duration::from_micros(micros);
                now += used + if turn % 50 == 0 { Duration::from_millis(idle) } else { Duration::ZERO };
                log.push((now, used));
                now += account.charge(now, used);
            }
            for (at, _) in &log {
                let minute = log.iter().filter(|(other, _)| (*at..*at + Duration::from_secs(60)).contains(other));
                let sum: Duration = minute.map(|(_, used)| *used).sum();
                // One turn is never cut short.
                prop_assert!(sum <= Duration::from_millis(600 + 20), "{sum:?}");
            }
        }
    }
}
