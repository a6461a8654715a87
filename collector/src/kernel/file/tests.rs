//! Files kept open, long and short ones, and what is left of the budget.

use super::*;

fn at(mount: &Path) -> FileAt<'_> {
    FileAt { mount, directory: b"/a", file: "value" }
}

#[test]
fn places_become_paths() {
    let path = |directory: &'static [u8], file| FileAt { mount: Path::new("/m"), directory, file }.path();
    assert_eq!(path(b"/", "f"), Path::new("/m/f"));
    assert_eq!(path(b"/a/b", "f"), Path::new("/m/a/b/f"));
    assert_eq!(path(b"/a", ""), Path::new("/m/a"));
    assert_eq!(path(b"/", ""), Path::new("/m"));
}

#[test]
fn a_file_beyond_the_bound_is_cut_at_a_whole_line() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("a")).unwrap();
    let file = root.path().join("a/value");
    let budget = Arc::new(FileBudget::new(9));
    let mut buffer = ReadBuffer::new();
    let line = b"0123456\n";
    for (lines, expected) in [(LARGEST_FILE / 8 - 1, LARGEST_FILE - 8), (LARGEST_FILE / 8 + 9, LARGEST_FILE)] {
        std::fs::write(&file, line.repeat(lines)).unwrap();
        assert_eq!(at(root.path()).read(&mut buffer).unwrap().len(), expected);
        let mut kept = KeptFile::default();
        assert_eq!(kept.read(at(root.path()), &budget, &mut buffer).unwrap().unwrap().len(), expected);
        assert_eq!(kept.read_to_end(at(root.path()), &budget, &mut buffer).unwrap().unwrap().len(), expected);
    }
    let before = Bound::FileBytes.count();
    std::fs::write(&file, b"0123456789\n".repeat(LARGEST_FILE / 10)).unwrap();
    let text = at(root.path()).read(&mut buffer).unwrap();
    assert!(text.len() < LARGEST_FILE && text.ends_with(b"9\n"));
    assert!(Bound::FileBytes.count() > before);
    assert_eq!(buffer.bytes.len(), LARGEST_FILE);
    let whole = at(root.path()).read_whole(&mut buffer);
    assert!(matches!(whole, Err(ReadError::Failed { errno: Errno::FBIG, .. })), "a part is of no use for a sum");
    std::fs::write(&file, "1\n").unwrap();
    assert_eq!(at(root.path()).read_whole(&mut buffer).unwrap(), b"1\n");
    assert!(buffer.bytes.len() <= KEPT_BUFFER, "the memory is given back");
}

#[test]
fn a_kept_file_is_read_anew_and_the_buffer_grows() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("a")).unwrap();
    let file = root.path().join("a/value");
    let budget = Arc::new(FileBudget::new(1));
    let mut buffer = ReadBuffer::new();
    let mut kept = KeptFile::default();
    let mut other = KeptFile::default();
    for size in [3, 8 * 1024, 100_000, 5] {
        std::fs::write(&file, vec![b'x'; size]).unwrap();
        let text = kept.read(at(root.path()), &budget, &mut buffer).unwrap().unwrap();
        assert_eq!(text.len(), size);
        // The budget is used up by the first file: the second is opened each time.
        let text = other.read(at(root.path()), &budget, &mut buffer).unwrap().unwrap();
        assert_eq!(text.len(), size);
        assert!(kept.is_kept() && !other.is_kept());
        assert_eq!(budget.kept(), 1);
    }
    kept.close();
    assert_eq!(budget.kept(), 0);
    other.read(at(root.path()), &budget, &mut buffer).unwrap();
    assert!(other.is_kept());
    drop(other);
    assert_eq!(budget.kept(), 0);
}

#[test]
fn absence_is_remembered_until_it_changes() {
    let root = tempfile::tempdir().unwrap();
    let budget = Arc::new(FileBudget::new(10));
    let mut buffer = ReadBuffer::new();
    let mut kept = KeptFile::default();
    assert!(kept.read(at(root.path()), &budget, &mut buffer).unwrap().is_none());
    std::fs::create_dir(root.path().join("a")).unwrap();
    std::fs::write(root.path().join("a/value"), "1\n").unwrap();
    assert!(kept.read(at(root.path()), &budget, &mut buffer).unwrap().is_none());
    kept.retry();
    assert_eq!(kept.read(at(root.path()), &budget, &mut buffer).unwrap(), Some(&b"1\n"[..]));
}

#[test]
fn errors_are_distinguished() {
    let root = tempfile::tempdir().unwrap();
    let budget = Arc::new(FileBudget::new(10));
    let mut buffer = ReadBuffer::new();
    std::fs::create_dir_all(root.path().join("a/value")).unwrap();
    let error = KeptFile::default().read(at(root.path()), &budget, &mut buffer).unwrap_err();
    assert!(matches!(error, ReadError::Failed { errno: Errno::ISDIR, .. }), "{error}");
    assert_eq!(error.path(), root.path().join("a/value"));
    assert!(matches!(read(&root.path().join("b"), &mut buffer), Err(ReadError::Missing(_))));
}

#[test]
fn paths_beyond_the_kernels_limit_are_opened_in_steps() {
    let root = tempfile::tempdir().unwrap();
    let mut buffer = ReadBuffer::new();
    let name = "n".repeat(200);
    let mut directory = Vec::new();
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let mut above = rustix::fs::open(root.path(), flags, Mode::empty()).unwrap();
    for _ in 0..50 {
        rustix::fs::mkdirat(&above, name.as_str(), Mode::from_raw_mode(0o755)).unwrap();
        above = rustix::fs::openat(&above, name.as_str(), flags, Mode::empty()).unwrap();
        directory.push(b'/');
        directory.extend_from_slice(name.as_bytes());
    }
    let write = OFlags::CREATE | OFlags::WRONLY;
    let file = rustix::fs::openat(&above, "value", write, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
    let at = FileAt { mount: root.path(), directory: &directory, file: "value" };
    assert_eq!(at.read(&mut buffer).unwrap(), b"deep");
    assert_eq!(at.stat(&mut buffer).unwrap().st_size, 4);
}
