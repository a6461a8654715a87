//! How a container ended, as JSON.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{describe_kill, name, number_of, object, of_word, restore_kill, runtimes, text_of, time_of, to_name};
use crate::sample::exit::{Exit, Rank, RuntimeOrInit, Sender, SentSignal, Status};
use crate::units::Nanos;

const FIRST: &str = "first";
const LONGEST: &str = "longest";
const ITSELF: &str = "itself";
const KERNEL: &str = "kernel";
const OOM_KILLER: &str = "oom_killer";
const PROCESS: &str = "process";
const SYSTEMD: &str = "systemd";
const SOME_RUNTIME: &str = "runtime";

pub(super) fn describe(exit: &Exit) -> Value {
    let Exit { at, pid, command, status, rank, lasted, signal, oom } = exit;
    let status = match status {
        Status::Code(code) => json!({ "code": code }),
        Status::Signal { number, core_dumped } => json!({ "signal": number, "core_dumped": core_dumped }),
    };
    let rank = match rank {
        Rank::First => FIRST,
        Rank::Longest => LONGEST,
    };
    object(vec![
        ("at", json!(at.0)),
        ("pid", json!(pid)),
        ("command", name(command)),
        ("status", status),
        ("rank", json!(rank)),
        ("lasted", json!(lasted.0)),
        ("signal", signal.as_ref().map_or(Value::Null, describe_signal)),
        ("oom", oom.as_deref().map_or(Value::Null, describe_kill)),
    ])
}

fn describe_signal(SentSignal { number, before, sender }: &SentSignal) -> Value {
    let mut described = vec![("number", json!(number)), ("before", json!(before.0))];
    let kind = match sender {
        Sender::Itself => ITSELF,
        Sender::Kernel => KERNEL,
        Sender::OomKiller => OOM_KILLER,
        Sender::Process { pid, command, uid, cgroup, runtime } => {
            let runtime = match runtime {
                None => Value::Null,
                Some(RuntimeOrInit::Systemd) => json!(SYSTEMD),
                Some(RuntimeOrInit::Runtime(None)) => json!(SOME_RUNTIME),
                Some(RuntimeOrInit::Runtime(Some(runtime))) => json!(runtime.namespace()),
            };
            described.extend([
                ("pid", json!(pid)),
                ("command", name(command)),
                ("uid", json!(uid)),
                ("cgroup", cgroup.as_deref().map_or(Value::Null, name)),
                ("runtime", runtime),
            ]);
            PROCESS
        }
    };
    described.push(("sender", json!(kind)));
    object(described)
}

/// `None` for one that this collector does not understand.
pub(super) fn restore(value: &Value) -> Option<Exit> {
    let status = value.get("status")?;
    let small = |value: &Value, key| number_of(value, key).and_then(|number| number.try_into().ok());
    Some(Exit {
        at: time_of(value, "at")?,
        pid: number_of(value, "pid")?.try_into().ok()?,
        command: to_name(value.get("command")?)?.into(),
        status: match small(status, "signal") {
            Some(number) => Status::Signal { number, core_dumped: status.get("core_dumped")?.as_bool()? },
            None => Status::Code(small(status, "code")?),
        },
        rank: if text_of(value, "rank")? == FIRST { Rank::First } else { Rank::Longest },
        lasted: Nanos(number_of(value, "lasted")?),
        signal: value.get("signal").and_then(restore_signal),
        oom: value.get("oom").map(|kill| Arc::new(restore_kill(kill))),
    })
}

fn restore_signal(value: &Value) -> Option<SentSignal> {
    let sender = match text_of(value, "sender")?.as_str() {
        ITSELF => Sender::Itself,
        KERNEL => Sender::Kernel,
        OOM_KILLER => Sender::OomKiller,
        PROCESS => Sender::Process {
            pid: number_of(value, "pid")?.try_into().ok()?,
            command: to_name(value.get("command")?)?.into(),
            uid: number_of(value, "uid")?.try_into().ok()?,
            cgroup: value.get("cgroup").and_then(to_name).map(Into::into),
            runtime: value.get("runtime").filter(|runtime| runtime.is_string()).map(|runtime| match runtime.as_str() {
                Some(SYSTEMD) => RuntimeOrInit::Systemd,
                _ => RuntimeOrInit::Runtime(of_word(&runtimes(), Some(runtime))),
            }),
        },
        _ => return None,
    };
    let number = number_of(value, "number")?.try_into().ok()?;
    Some(SentSignal { number, before: Nanos(number_of(value, "before")?), sender })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::exit::tests::{exit, killed, process};
    use crate::sample::identity::Runtime;

    #[test]
    fn every_end_is_read_back() {
        let runtimes = [
            None,
            Some(RuntimeOrInit::Systemd),
            Some(RuntimeOrInit::Runtime(None)),
            Some(RuntimeOrInit::Runtime(Some(Runtime::Docker))),
        ];
        let mut ends: Vec<Exit> = [Sender::Itself, Sender::Kernel, Sender::OomKiller].into_iter().map(killed).collect();
        ends.extend(runtimes.map(|runtime| killed(process(b"sh\xff", Some(b"/docker/a"), runtime))));
        ends.push(exit(Status::Code(3), None));
        ends.push(Exit { rank: Rank::Longest, oom: Some(Arc::default()), ..killed(Sender::OomKiller) });
        for end in ends {
            assert_eq!(restore(&describe(&end)), Some(end));
        }
    }
}
