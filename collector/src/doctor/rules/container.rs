//! The container that the command line names.

use crate::doctor::container::{ContainerFacts, Membership};
use crate::doctor::report::Finding;

pub(super) fn judge(facts: &ContainerFacts, findings: &mut Vec<Finding>) {
    let ContainerFacts { given, found } = facts;
    let finding = |text: String| Finding::works("container", "container", text);
    findings.push(match found {
        Err(error) => {
            finding(error.clone()).unavailable("a report on this container", "give one of the names that exist")
        }
        Ok(Membership { cgroup, on, off }) if off.is_empty() => {
            finding(format!("{given} is the cgroup {cgroup}; counted by {}", on.join(", ")))
        }
        Ok(Membership { cgroup, off, .. }) => {
            let off = off.join(", ");
            finding(format!("{given} is the cgroup {cgroup}; not counted by {off}")).limited(
                format!("the statistics of {off} of this container: `collector statistics {given}` lists them"),
                "cgroup v2: write +CONTROLLER to cgroup.subtree_control of every cgroup above it, with systemd by \
                 Delegate= or the accounting settings of its unit; v1: start the container with a runtime that \
                 makes a cgroup in every hierarchy",
            )
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::report::Status;

    fn found(found: Result<Membership, String>) -> Finding {
        let mut findings = Vec::new();
        judge(&ContainerFacts { given: "web".to_owned(), found }, &mut findings);
        findings.remove(0)
    }

    #[test]
    fn a_container_is_placed_and_what_does_not_count_is_named() {
        let whole = Membership { cgroup: "/docker/a".to_owned(), on: vec!["cpu", "memory"], off: Vec::new() };
        let works = found(Ok(whole.clone()));
        assert_eq!(
            (works.status, works.found.as_str()),
            (Status::Works, "web is the cgroup /docker/a; counted by cpu, memory")
        );
        let partial = found(Ok(Membership { off: vec!["io"], ..whole }));
        assert_eq!(partial.status, Status::Limited);
        assert!(partial.found.ends_with("not counted by io"), "{}", partial.found);
        assert_eq!(found(Err("no container is called web".to_owned())).status, Status::Unavailable);
    }
}
