//! Containers that come, go, move and are replaced.

use std::sync::Arc;

use super::fixture::{Host, kinds};
use crate::kernel::file::FileBudget;
use crate::reader::container::{ContainerReader, Member, SampleError};
use crate::sample::kinds::KindSet;
use crate::units::Nanos;

fn write_cpu(host: &Host, name: &str, usage_usec: u64) {
    host.write(&format!("cgroup{name}/cpu.stat"), &format!("usage_usec {usage_usec}\nuser_usec 0\nsystem_usec 0\n"));
}

#[test]
fn a_directory_may_become_visible_later() {
    let mut host = Host::v2();
    let ctx = host.context(kinds(&[]));
    // The id is made up: the next directory's number cannot be known.
    let mut reader = ContainerReader::new(b"/late".as_slice().into(), &[Member { hierarchy: 0, id: 1 }]);
    assert_eq!(reader.sample(&ctx, &mut host.scratch), Err(SampleError::Gone));
    write_cpu(&host, "/late", 5);
    reader.set_members(&Host::members(&ctx, "/late"));
    assert_eq!(reader.sample(&ctx, &mut host.scratch).unwrap().cpu.unwrap().total, Nanos(5000));
    host.remove("cgroup/late");
    assert!(ContainerReader::new(b"/late".as_slice().into(), &[]).sample(&ctx, &mut host.scratch).is_err());
}

#[test]
fn another_cgroup_of_the_same_path_is_not_read() {
    for budget in [1000, 0] {
        let mut host = Host::v2();
        host.budget = Arc::new(FileBudget::new(budget));
        let ctx = host.context(kinds(&[]));
        write_cpu(&host, "/a", 5);
        let mut old = Host::reader(&ctx, "/a");
        old.sample(&ctx, &mut host.scratch).unwrap();
        // Kept descriptors of ordinary files outlive them; those of a cgroup report its end.
        old.close();
        std::fs::rename(host.path("cgroup/a"), host.path("cgroup/moved")).unwrap();
        write_cpu(&host, "/a", 9);
        let mut fresh =
            ContainerReader::new(b"/a".as_slice().into(), &[Member { hierarchy: 0, id: host.inode("cgroup/moved") }]);
        assert_eq!(fresh.sample(&ctx, &mut host.scratch), Err(SampleError::Gone));
        if budget == 0 {
            assert_eq!(old.sample(&ctx, &mut host.scratch), Err(SampleError::Gone));
        }
        old.set_members(&Host::members(&ctx, "/a"));
        assert_eq!(old.sample(&ctx, &mut host.scratch).unwrap().cpu.unwrap().total, Nanos(9000));
    }
}

#[test]
fn a_removed_container_is_gone_without_a_budget_too() {
    let mut host = Host::v2();
    host.budget = Arc::new(FileBudget::new(0));
    let ctx = host.context(KindSet::default());
    write_cpu(&host, "/a", 5);
    let mut reader = Host::reader(&ctx, "/a");
    let expected = reader.sample(&ctx, &mut host.scratch).unwrap();
    assert_eq!(reader.sample(&ctx, &mut host.scratch), Ok(expected));
    assert_eq!(reader.kept(), 0);
    host.remove("cgroup/a");
    assert_eq!(reader.sample(&ctx, &mut host.scratch), Err(SampleError::Gone));
    assert_eq!(reader.spec(&ctx, &mut host.scratch).cpu, None);
}

#[test]
fn a_hierarchy_that_is_left_takes_its_values_along() {
    let mut host = Host::hybrid();
    let ctx = host.context(KindSet::default());
    host.write("cgroup/cpuacct/a/cpuacct.usage_percpu", "1 2 \n");
    host.write("cgroup/cpu/a/cpu.stat", "nr_periods 1\nnr_throttled 0\nthrottled_time 0\n");
    let mut reader = Host::reader(&ctx, "/a");
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    assert!(sample.cpu.unwrap().cfs.is_some());
    host.remove("cgroup/cpu/a");
    reader.set_members(&Host::members(&ctx, "/a"));
    assert_eq!(host.budget.kept(), 0, "a change drops the files that may belong to what was left");
    let sample = reader.sample(&ctx, &mut host.scratch).unwrap();
    assert!(sample.cpu.unwrap().cfs.is_none());
    host.write("cgroup/cpu/a/cpu.stat", "nr_periods 1\nnr_throttled 0\nthrottled_time 0\n");
    reader.set_members(&Host::members(&ctx, "/a"));
    assert!(reader.sample(&ctx, &mut host.scratch).unwrap().cpu.unwrap().cfs.is_some());
    reader.set_members(&[]);
    assert_eq!(reader.sample(&ctx, &mut host.scratch), Err(SampleError::Gone));
}
