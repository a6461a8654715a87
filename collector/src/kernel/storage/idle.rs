//! A thread that gives way to everybody: what it does must cost nothing that anybody else wants.

use std::time::Duration;

use rustix::process::setpriority_process;
use rustix::time::{ClockId, clock_gettime};
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

/// A nice value with about a tenth of the weight of the usual one.
const NICE: i32 = 10;
/// The last of the nice values.
const NICEST: i32 = 19;

/// Makes the calling thread run, and read disks, only when nobody else wants to.
///
/// A thread of the scheduling policy `SCHED_IDLE` that has no I/O priority of its own has the idle class
/// (`ioprio_set(2)`). Where a filter of system calls forbids the policy, the nice value stays, which makes the I/O
/// priority the lowest of the best-effort class.
pub fn give_way() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle) {
        tracing::debug!(?error, "files are counted without the idle scheduling policy");
    }
    // After the policy, with which the library sets a nice value of its own.
    if let Err(errno) = setpriority_process(None, NICEST) {
        tracing::debug!(error = %errno, "files are counted without a higher nice value");
    }
}

/// Makes the calling thread give way to what is more urgent, but not to everything: where all CPUs are busy it still gets
/// a part of one, of which it is to take little.
pub fn give_way_to_others() {
    if let Err(errno) = setpriority_process(None, NICE) {
        tracing::debug!(error = %errno, "a thread that gives way runs without a higher nice value");
    }
}

/// The CPU time that the calling thread has used.
pub fn own_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thread_is_idle_and_others_are_not() {
        let policy = || {
            let text = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // Field 41, counted from behind the name in parentheses, which is the second.
            let (_, rest) = text.rsplit_once(") ").unwrap();
            rest.split(' ').nth(41 - 3).unwrap().to_owned()
        };
        let idle = std::thread::spawn(move || {
            give_way();
            policy()
        });
        assert_eq!(idle.join().unwrap(), "5", "SCHED_IDLE");
        assert_eq!(policy(), "0", "SCHED_OTHER");
    }

    #[test]
    fn cpu_time_is_what_was_used() {
        let before = own_cpu_time();
        let mut turns = 0_u64;
        while own_cpu_time() < before + Duration::from_millis(5) {
            turns += 1;
        }
        assert!(turns > 0);
        let busy = own_cpu_time();
        std::thread::sleep(Duration::from_millis(200));
        assert!(own_cpu_time().saturating_sub(busy) < Duration::from_millis(100), "sleeping is not working");
    }
}
