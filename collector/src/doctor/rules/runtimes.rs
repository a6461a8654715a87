//! Container runtimes: without one its containers have no names.

use crate::doctor::report::Finding;
use crate::doctor::runtimes::RuntimeFacts;
use crate::runtime::Named;
use crate::runtime::reachability::{LOST, Unreachable, facility, title};
use crate::sample::identity::Runtime;

const RUNTIMES: [Runtime; 4] = [Runtime::Docker, Runtime::Podman, Runtime::Containerd, Runtime::CriO];

pub(super) fn judge(facts: &RuntimeFacts, findings: &mut Vec<Finding>) {
    findings.extend(RUNTIMES.map(|runtime| one(facts, runtime)));
}

fn one(facts: &RuntimeFacts, runtime: Runtime) -> Finding {
    let (id, title) = (facility(runtime), title(runtime));
    let seen = facts.seen.get(&runtime).copied().unwrap_or_default();
    let containers = match seen {
        0 => "no containers".to_owned(),
        1 => "1 container".to_owned(),
        more => format!("{more} containers"),
    };
    let Some(examined) = facts.examined.iter().find(|examined| examined.listener.runtime == runtime) else {
        return Finding::off(id, title, format!("not asked, by --{}=; {containers} by path", runtime.namespace()));
    };
    let listener = &examined.listener;
    match &examined.outcome {
        Ok(()) => Finding::works(id, title, format!("answers at {}; {containers} by path", listener.endpoint)),
        Err(cause) => {
            let problem = Unreachable { listener, cause };
            if seen == 0 && listener.named == Named::ByDefault {
                // Most machines have one runtime.
                return Finding::off(id, title, format!("not there, nor are containers of its: {}", problem.found()));
            }
            Finding::works(id, title, format!("{}; {containers} by path", problem.found()))
                .unavailable(LOST, problem.fix())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;
    use crate::runtime::reachability::{Cause, Examined};
    use crate::runtime::{Endpoint, Listener};

    fn found(named: Named, seen: usize, outcome: Result<(), Cause>) -> Finding {
        let endpoint = Endpoint::Unix("/run/docker.sock".into());
        let examined = vec![Examined { listener: Listener { runtime: Runtime::Docker, endpoint, named }, outcome }];
        one(&RuntimeFacts { examined, seen: [(Runtime::Docker, seen)].into() }, Runtime::Docker)
    }

    #[test]
    fn one_that_nobody_misses_is_no_fault() {
        use Cause::{Denied, Missing};
        use Named::{ByDefault, ByFlag};
        for (named, seen, outcome, status) in [
            (ByDefault, 3, Ok(()), Status::Works),
            (ByFlag, 0, Ok(()), Status::Works),
            (ByDefault, 0, Err(Missing), Status::Off),
            (ByDefault, 1, Err(Missing), Status::Unavailable),
            (ByFlag, 0, Err(Denied), Status::Unavailable),
        ] {
            assert_eq!(found(named, seen, outcome.clone()).status, status, "{named:?} {seen} {outcome:?}");
        }
        assert_eq!(one(&RuntimeFacts::default(), Runtime::CriO).status, Status::Off);
    }

    #[test]
    fn every_cause_has_its_words_and_its_fix() {
        for (cause, words, fix) in [
            (Cause::Missing, "is not there", "systemctl enable --now docker"),
            (Cause::Directory, "is a directory, which `docker run -v` makes", "remove the directory"),
            (Cause::NotASocket, "is not a socket", "--docker"),
            (Cause::Denied, "permission denied", "as root"),
            (Cause::Refused, "connection refused", "mount the socket's directory"),
            (Cause::Silent, "did not answer within 5 seconds", "restart it"),
            (Cause::Nonsense("HTTP".into()), "answers, but not as Docker does: HTTP", "not that of another program"),
            (Cause::Version("too new".into()), "another version of Docker's API: too new", "upgrade Docker"),
            (Cause::Other("x".into()), "unix:///run/docker.sock: x", "--docker="),
        ] {
            let finding = found(Named::ByFlag, 2, Err(cause));
            let trouble = finding.trouble.unwrap();
            assert!(
                finding.found.contains(words) && finding.found.ends_with("; 2 containers by path"),
                "{}",
                finding.found
            );
            assert!(trouble.fix.contains(fix) && trouble.lost == LOST, "{}", trouble.fix);
        }
    }
}
