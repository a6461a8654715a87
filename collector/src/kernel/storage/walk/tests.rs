//! Trees on a real file system.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;

fn walked(directory: &Path) -> Tree {
    tree(&HostRoots::default(), directory, &mut || ControlFlow::Continue(())).unwrap()
}

/// The same by the standard library: slow, and right as long as nothing changes.
fn counted(directory: &Path) -> Tree {
    fn add(path: &Path, seen: &mut HashSet<u64>, sum: &mut Tree) {
        let metadata = fs::symlink_metadata(path).unwrap();
        if seen.insert(metadata.ino()) {
            sum.inodes += 1;
            sum.bytes.0 += metadata.blocks() * 512;
        }
        if metadata.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                add(&entry.unwrap().path(), seen, sum);
            }
        }
    }
    let mut sum = Tree::default();
    add(directory, &mut HashSet::new(), &mut sum);
    sum
}

#[test]
fn an_empty_directory_is_one_inode() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(walked(directory.path()).inodes, 1);
    assert_eq!(walked(directory.path()), counted(directory.path()));
}

#[test]
fn what_is_written_is_counted_and_holes_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let before = walked(directory.path());
    fs::write(directory.path().join("full"), vec![1; 3 << 20]).unwrap();
    let sparse = File::create(directory.path().join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    sparse.write_all_at(&[1; 4096], 512 << 20).unwrap();
    let after = walked(directory.path());
    let grown = after.bytes.0 - before.bytes.0;
    assert!((3 << 20..4 << 20).contains(&grown), "{grown}");
    assert_eq!(after.inodes, before.inodes + 2);
}

#[test]
fn a_file_with_several_names_counts_once() {
    let directory = tempfile::tempdir().unwrap();
    let (here, there) = (directory.path().join("here"), directory.path().join("there"));
    fs::create_dir(&here).unwrap();
    fs::create_dir(&there).unwrap();
    fs::write(here.join("a"), vec![1; 1 << 20]).unwrap();
    let one = walked(directory.path());
    for (number, parent) in [&here, &there, &there].into_iter().enumerate() {
        fs::hard_link(here.join("a"), parent.join(number.to_string())).unwrap();
    }
    let four = walked(directory.path());
    assert_eq!((four.inodes, four.bytes), (one.inodes, one.bytes));
    // A name outside the tree is never met.
    fs::rename(here.join("a"), directory.path().with_extension("outside")).unwrap();
    assert_eq!(walked(directory.path()), four);
    fs::remove_file(directory.path().with_extension("outside")).unwrap();
}

#[test]
fn links_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("big"), vec![1; 1 << 20]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    symlink(outside.path(), directory.path().join("tree")).unwrap();
    symlink(outside.path().join("big"), directory.path().join("file")).unwrap();
    symlink("..", directory.path().join("up")).unwrap();
    let found = walked(directory.path());
    assert_eq!(found.inodes, 4);
    assert!(found.bytes.0 < 1 << 19, "{found:?}");
    let link = directory.path().join("tree");
    assert!(tree(&HostRoots::default(), &link, &mut || ControlFlow::Continue(())).is_err());
}

#[test]
fn other_file_systems_are_not_entered() {
    // Of /dev, directories such as /dev/pts or /dev/shm are other file systems as a rule.
    let Ok(dev) = fs::metadata("/dev") else { return };
    let others = fs::read_dir("/dev").unwrap().flatten().filter_map(|entry| entry.metadata().ok());
    let expected_at_most = others.filter(|metadata| metadata.dev() == dev.dev()).count();
    let mut steps = 0;
    let mut step = || {
        steps += 1;
        ControlFlow::Continue(())
    };
    if let Ok(found) = tree(&HostRoots::default(), Path::new("/dev"), &mut step) {
        assert!(found.inodes >= 1 && steps >= expected_at_most, "{found:?} in {steps} steps");
        assert!(found.inodes <= 1 + steps as u64);
    }
}

#[test]
fn deeper_than_descriptors_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut deep = directory.path().to_path_buf();
    for level in 0..OPEN_AT_ONCE * 3 {
        deep.push("d");
        fs::create_dir(&deep).unwrap();
        fs::write(deep.with_file_name(format!("file{level}")), "x").unwrap();
        fs::create_dir(deep.with_file_name("beside")).unwrap();
    }
    assert_eq!(walked(directory.path()), counted(directory.path()));
    let mut most = 0;
    let mut step = || {
        let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
        let below = |path: &PathBuf| path.starts_with(directory.path());
        most = most.max(open.filter_map(|entry| fs::read_link(entry.path()).ok()).filter(below).count());
        ControlFlow::Continue(())
    };
    tree(&HostRoots::default(), directory.path(), &mut step).unwrap();
    assert!((2..=OPEN_AT_ONCE + 2).contains(&most), "{most} directories were open at once");
}

#[test]
fn a_step_ends_it() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), "").unwrap();
    let result = tree(&HostRoots::default(), directory.path(), &mut || ControlFlow::Break(()));
    assert!(matches!(result, Err(WalkError::Stopped)));
    let missing = tree(&HostRoots::default(), Path::new("/nonexistent/x"), &mut || ControlFlow::Break(()));
    assert!(matches!(missing, Err(WalkError::Read(ReadError::Missing(_)))));
}

#[test]
fn files_that_vanish_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let stays = directory.path().join("stays");
    fs::create_dir(&stays).unwrap();
    for number in 0..50 {
        fs::write(stays.join(number.to_string()), "x").unwrap();
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let comes = directory.path().join("comes/and/goes");
            while !stop.load(Ordering::Relaxed) {
                fs::create_dir_all(&comes).unwrap();
                fs::write(comes.join("x"), "x").unwrap();
                symlink("/", comes.join("l")).unwrap();
                fs::rename(directory.path().join("comes"), directory.path().join("went")).unwrap();
                fs::remove_dir_all(directory.path().join("went")).unwrap();
            }
        });
        for _ in 0..200 {
            let found = walked(directory.path());
            assert!((52..=62).contains(&found.inodes), "{found:?}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_directory_removed_in_the_middle_of_the_walk() {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..4 {
        fs::create_dir_all(directory.path().join(format!("d{number}/e/f"))).unwrap();
    }
    let mut steps = 0;
    let mut step = || {
        steps += 1;
        // After the top was listed, everything goes.
        if steps == 5 {
            for number in 0..4 {
                let _ = fs::remove_dir_all(directory.path().join(format!("d{number}")));
            }
        }
        ControlFlow::Continue(())
    };
    let found = tree(&HostRoots::default(), directory.path(), &mut step).unwrap();
    assert!(found.inodes <= 6, "{found:?}");
}

/// What a tree is made of.
#[derive(Clone, Debug)]
enum Thing {
    File(u32),
    Directory(Vec<Thing>),
    LinkToFirstFile,
    Symlink,
}

fn things() -> impl Strategy<Value = Vec<Thing>> {
    let leaf = prop_oneof![(0..20_000u32).prop_map(Thing::File), Just(Thing::LinkToFirstFile), Just(Thing::Symlink)];
    let thing = leaf.prop_recursive(4, 40, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(Thing::Directory));
    prop::collection::vec(thing, 0..6)
}

fn make(things: &[Thing], directory: &Path, first: &Path) {
    for (number, thing) in things.iter().enumerate() {
        let path = directory.join(number.to_string());
        match thing {
            Thing::File(size) => fs::write(path, vec![1; *size as usize]).unwrap(),
            Thing::LinkToFirstFile => fs::hard_link(first, path).unwrap(),
            Thing::Symlink => symlink("/etc", path).unwrap(),
            Thing::Directory(inner) => {
                fs::create_dir(&path).unwrap();
                make(inner, &path, first);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_tree_is_counted_as_the_standard_library_counts_it(things in things()) {
        let directory = tempfile::tempdir().unwrap();
        let first = directory.path().join("first");
        fs::write(&first, "first").unwrap();
        make(&things, directory.path(), &first);
        prop_assert_eq!(walked(directory.path()), counted(directory.path()));
    }
}
