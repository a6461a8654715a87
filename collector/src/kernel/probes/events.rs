//! What the programs report, decoded: pure, total, no state.

pub mod exits;
pub mod last;

use collector_ebpf::{
    AttachRecord, CgroupRecord, MEMCG_LEVELS, MemcgLevel as RawLevel, OOM_CGROUPS, OOM_LOCAL_EVENTS, OOM_LOCKS,
    OOM_PGTABLES, OOM_SCORE_ADJ, OOM_SIZES, OOM_UID, OOM_VICTIM, OomRecord, OomTask, PATH_MAX_LEN, PATH_TRUNCATED,
    RecordKind,
};
use std::{
    fmt,
    mem::{offset_of, size_of},
};

/// Something happened in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelEvent {
    /// A cgroup came, went, or changed.
    Cgroup(CgroupEvent),
    /// A cgroup got its first process.
    Attach(AttachEvent),
    /// The OOM killer chose a victim.
    Oom(Box<OomEvent>),
    /// A process ended.
    Exit(Box<exits::ExitEvent>),
    /// What a cgroup used in all. Comes before its [`CgroupEventKind::Rmdir`].
    Last(Box<last::LastEvent>),
}

/// What happened to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CgroupEventKind {
    /// Made. The directory may become visible only a moment later.
    Mkdir,
    /// Removed.
    Rmdir,
    /// The kernel's object is gone, some time after the directory.
    Release,
    /// Renamed (cgroup v1 only); the event's path is the new one.
    Rename,
    /// Its subtree has processes now, or has none any more; see [`CgroupEvent::populated`].
    Populated,
}

/// A cgroup came, went, or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupEvent {
    /// What happened.
    pub kind: CgroupEventKind,
    /// When, in nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// The hierarchy's number as in `/proc/self/cgroup`; 0 is cgroup2.
    pub hierarchy_id: u32,
    /// The kernfs id, which is the directory's inode number. Unique within its hierarchy only.
    pub id: u64,
    /// The parent directory's id; `None` for a hierarchy's root.
    pub parent_id: Option<u64>,
    /// Depth below the hierarchy's root, which is 0.
    pub level: u32,
    /// For [`CgroupEventKind::Populated`], whether there are processes now.
    pub populated: Option<bool>,
    /// The path from the hierarchy's root, with a leading slash. Any bytes but zero and newline.
    pub path: Box<[u8]>,
    /// The path is longer than 4,095 bytes or too deep to be walked: `path` is then only its start.
    pub path_truncated: bool,
}

/// A cgroup got its first process, by being moved into it. Forks into a cgroup do not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachEvent {
    /// When, in nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// As in [`CgroupEvent`].
    pub hierarchy_id: u32,
    /// As in [`CgroupEvent`].
    pub id: u64,
    /// The process id in the initial pid namespace.
    pub pid: u32,
    /// Its command name.
    pub comm: Comm,
}

/// A command name (`task_struct.comm`): at most 15 bytes, of any encoding.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Comm([u8; collector_ebpf::COMM_LEN]);

impl Comm {
    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

impl fmt::Debug for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// A task of an [`OomEvent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Process id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// Its command name.
    pub comm: Comm,
    /// Its cgroup in cgroup2 (hierarchy 0); `None` when it could not be read.
    pub default_cgroup: Option<u64>,
    /// Its cgroup in the memory controller's hierarchy; `None` when it could not be read.
    pub memory_cgroup: Option<u64>,
}

/// The OOM killer chose a victim. Every field but the time and the thread id is `None` where the kernel does not
/// offer it or it could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomEvent {
    /// When, in nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    /// The victim's thread id in the initial pid namespace.
    pub victim_tid: u32,
    /// The victim.
    pub victim: Option<Task>,
    /// The task whose allocation set the OOM killer off. It need not share a cgroup with the victim.
    pub trigger: Option<Task>,
    /// The victim's real user id in the initial user namespace.
    pub uid: Option<u32>,
    /// Its `oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Its sizes.
    pub sizes: Option<VictimSizes>,
    /// Bytes of its page tables.
    pub pgtables_bytes: Option<u64>,
    /// The hierarchy the memory controller is attached to.
    pub memory_hierarchy_id: Option<u32>,
    /// The memory cgroups from the victim's upwards, at most 32; empty when they could not be read.
    pub levels: Vec<MemcgLevel>,
}

/// The victim's memory in pages, as `mm_struct` counts it. The resident sizes lag by some pages per CPU since 6.2,
/// like those in the kernel's own log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VictimSizes {
    /// `total_vm`.
    pub total_vm_pages: u64,
    /// `MM_ANONPAGES`.
    pub anon_pages: u64,
    /// `MM_FILEPAGES`.
    pub file_pages: u64,
    /// `MM_SHMEMPAGES`.
    pub shmem_pages: u64,
}

/// A memory cgroup at the time of an OOM kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemcgLevel {
    /// Its kernfs id.
    pub id: u64,
    /// `memory.usage`, pages.
    pub usage_pages: u64,
    /// `memory.max`, pages; unlimited is a number larger than any machine.
    pub max_pages: u64,
    /// How often this very cgroup ran out of memory so far (`oom` of `memory.events.local`).
    pub local_ooms: Option<u64>,
    /// Whether an OOM situation of this cgroup or one above is being handled (`mem_cgroup.oom_lock`).
    pub oom_locked: Option<bool>,
}

/// The record is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than its kind has.
    #[error("record of {length} bytes, {needed} needed")]
    Short {
        /// Bytes there.
        length: usize,
        /// Bytes needed.
        needed: usize,
    },
    /// No such kind.
    #[error("unknown kind of record {0}")]
    UnknownKind(u32),
    /// A path longer than any.
    #[error("path of {0} bytes")]
    PathLength(u32),
}

/// Decodes a record of the ring buffer. Bytes behind the record's end are ignored.
///
/// # Errors
/// When the bytes are too few or of no known kind: daemon and programs do not fit together.
pub fn decode(record: &[u8]) -> Result<KernelEvent, DecodeError> {
    let number = u32::from_ne_bytes(field(record, 0)?);
    let kind = RecordKind::from_u32(number).ok_or(DecodeError::UnknownKind(number))?;
    let cgroup = |kind| decode_cgroup(kind, record).map(KernelEvent::Cgroup);
    match kind {
        RecordKind::Mkdir => cgroup(CgroupEventKind::Mkdir),
        RecordKind::Rmdir => cgroup(CgroupEventKind::Rmdir),
        RecordKind::Release => cgroup(CgroupEventKind::Release),
        RecordKind::Rename => cgroup(CgroupEventKind::Rename),
        RecordKind::Populated => cgroup(CgroupEventKind::Populated),
        RecordKind::Attach => decode_attach(record).map(KernelEvent::Attach),
        RecordKind::Oom => decode_oom(record).map(|event| KernelEvent::Oom(Box::new(event))),
        RecordKind::Exit => exits::decode(record).map(|event| KernelEvent::Exit(Box::new(event))),
        RecordKind::Last => last::decode(record).map(|event| KernelEvent::Last(Box::new(event))),
    }
}

fn decode_cgroup(kind: CgroupEventKind, record: &[u8]) -> Result<CgroupEvent, DecodeError> {
    let header = whole(record, size_of::<CgroupRecord>())?;
    let word = |at| field(header, at).map(u32::from_ne_bytes);
    let long = |at| field(header, at).map(u64::from_ne_bytes);
    let path_len = word(offset_of!(CgroupRecord, path_len))?;
    if path_len as usize > PATH_MAX_LEN {
        return Err(DecodeError::PathLength(path_len));
    }
    let end = header.len() + path_len as usize;
    let path = &whole(record, end)?[header.len()..];
    let parent_id = long(offset_of!(CgroupRecord, parent_id))?;
    Ok(CgroupEvent {
        kind,
        boot_ns: long(offset_of!(CgroupRecord, boot_ns))?,
        hierarchy_id: word(offset_of!(CgroupRecord, hierarchy_id))?,
        id: long(offset_of!(CgroupRecord, id))?,
        parent_id: (parent_id != 0).then_some(parent_id),
        level: word(offset_of!(CgroupRecord, level))?,
        populated: match word(offset_of!(CgroupRecord, populated))? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
        path: path.into(),
        path_truncated: word(offset_of!(CgroupRecord, flags))? & PATH_TRUNCATED != 0,
    })
}

fn decode_attach(record: &[u8]) -> Result<AttachEvent, DecodeError> {
    let record = whole(record, size_of::<AttachRecord>())?;
    Ok(AttachEvent {
        boot_ns: u64::from_ne_bytes(field(record, offset_of!(AttachRecord, boot_ns))?),
        hierarchy_id: u32::from_ne_bytes(field(record, offset_of!(AttachRecord, hierarchy_id))?),
        id: u64::from_ne_bytes(field(record, offset_of!(AttachRecord, id))?),
        pid: u32::from_ne_bytes(field(record, offset_of!(AttachRecord, tgid))?),
        comm: Comm(field(record, offset_of!(AttachRecord, comm))?),
    })
}

fn decode_oom(record: &[u8]) -> Result<OomEvent, DecodeError> {
    let record = whole(record, size_of::<OomRecord>())?;
    let word = |at| field(record, at).map(u32::from_ne_bytes);
    let long = |at| field(record, at).map(u64::from_ne_bytes);
    let fields = word(offset_of!(OomRecord, fields))?;
    let has = |bit| fields & bit != 0;
    let victim = decode_task(record, offset_of!(OomRecord, victim))?;
    let trigger = decode_task(record, offset_of!(OomRecord, trigger))?;
    let count = (word(offset_of!(OomRecord, level_count))? as usize).min(MEMCG_LEVELS);
    let mut levels = Vec::with_capacity(count);
    for index in 0..count {
        let at = offset_of!(OomRecord, levels) + index * size_of::<RawLevel>();
        let local_ooms = long(at + offset_of!(RawLevel, local_ooms))?;
        let locked = word(at + offset_of!(RawLevel, oom_lock))?;
        levels.push(MemcgLevel {
            id: long(at + offset_of!(RawLevel, id))?,
            usage_pages: long(at + offset_of!(RawLevel, usage_pages))?,
            max_pages: long(at + offset_of!(RawLevel, max_pages))?,
            local_ooms: has(OOM_LOCAL_EVENTS).then_some(local_ooms),
            oom_locked: has(OOM_LOCKS).then_some(locked != 0),
        });
    }
    let sizes = VictimSizes {
        total_vm_pages: long(offset_of!(OomRecord, total_vm_pages))?,
        anon_pages: long(offset_of!(OomRecord, anon_pages))?,
        file_pages: long(offset_of!(OomRecord, file_pages))?,
        shmem_pages: long(offset_of!(OomRecord, shmem_pages))?,
    };
    let uid = word(offset_of!(OomRecord, uid))?;
    let oom_score_adj = i32::from_ne_bytes(field(record, offset_of!(OomRecord, oom_score_adj))?);
    let pgtables_bytes = long(offset_of!(OomRecord, pgtables_bytes))?;
    let hierarchy_id = word(offset_of!(OomRecord, memory_hierarchy_id))?;
    Ok(OomEvent {
        boot_ns: long(offset_of!(OomRecord, boot_ns))?,
        victim_tid: victim.tid,
        victim: has(OOM_VICTIM).then_some(victim),
        trigger: (trigger.tid != 0).then_some(trigger),
        uid: has(OOM_UID).then_some(uid),
        oom_score_adj: has(OOM_SCORE_ADJ).then_some(oom_score_adj),
        sizes: has(OOM_SIZES).then_some(sizes),
        pgtables_bytes: has(OOM_PGTABLES).then_some(pgtables_bytes),
        memory_hierarchy_id: has(OOM_CGROUPS).then_some(hierarchy_id),
        levels,
    })
}

fn decode_task(record: &[u8], at: usize) -> Result<Task, DecodeError> {
    let id = |offset| field(record, at + offset).map(u64::from_ne_bytes).map(|id| (id != 0).then_some(id));
    Ok(Task {
        pid: u32::from_ne_bytes(field(record, at + offset_of!(OomTask, tgid))?),
        tid: u32::from_ne_bytes(field(record, at + offset_of!(OomTask, tid))?),
        comm: Comm(field(record, at + offset_of!(OomTask, comm))?),
        default_cgroup: id(offset_of!(OomTask, default_cgroup))?,
        memory_cgroup: id(offset_of!(OomTask, memory_cgroup))?,
    })
}

fn whole(record: &[u8], needed: usize) -> Result<&[u8], DecodeError> {
    record.get(..needed).ok_or(DecodeError::Short { length: record.len(), needed })
}

fn field<const N: usize>(record: &[u8], at: usize) -> Result<[u8; N], DecodeError> {
    record
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .ok_or(DecodeError::Short { length: record.len(), needed: at + N })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record under construction: zeros, with some fields set.
    fn record(length: usize, words: &[(usize, u32)], longs: &[(usize, u64)], tail: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; length];
        for &(at, value) in words {
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        for &(at, value) in longs {
            bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        }
        bytes.extend(tail);
        bytes
    }

    fn cgroup_record(kind: RecordKind, populated: u32, flags: u32, path: &[u8]) -> Vec<u8> {
        let words = [(0, kind as u32), (4, 3), (32, 2), (36, populated), (40, path.len() as u32), (44, flags)];
        record(48, &words, &[(8, 5_000), (16, 1 << 40), (24, 7)], path)
    }

    #[test]
    fn cgroup_records() {
        for (kind, raw, populated, expected) in [
            (CgroupEventKind::Mkdir, RecordKind::Mkdir, u32::MAX, None),
            (CgroupEventKind::Rmdir, RecordKind::Rmdir, u32::MAX, None),
            (CgroupEventKind::Release, RecordKind::Release, u32::MAX, None),
            (CgroupEventKind::Rename, RecordKind::Rename, u32::MAX, None),
            (CgroupEventKind::Populated, RecordKind::Populated, 0, Some(false)),
            (CgroupEventKind::Populated, RecordKind::Populated, 1, Some(true)),
        ] {
            let KernelEvent::Cgroup(event) = decode(&cgroup_record(raw, populated, 0, b"/a/\xff b")).unwrap() else {
                panic!("{raw:?} is a cgroup record");
            };
            let wanted = CgroupEvent {
                kind,
                boot_ns: 5_000,
                hierarchy_id: 3,
                id: 1 << 40,
                parent_id: Some(7),
                level: 2,
                populated: expected,
                path: b"/a/\xff b".as_slice().into(),
                path_truncated: false,
            };
            assert_eq!(event, wanted);
        }
        let truncated = decode(&cgroup_record(RecordKind::Mkdir, u32::MAX, PATH_TRUNCATED, b"/a")).unwrap();
        assert!(matches!(truncated, KernelEvent::Cgroup(CgroupEvent { path_truncated: true, .. })));
    }

    #[test]
    fn attach_record() {
        let bytes = record(48, &[(0, RecordKind::Attach as u32), (24, 42), (32, 0x6873)], &[(16, 9)], b"");
        let KernelEvent::Attach(event) = decode(&bytes).unwrap() else { panic!("an attach record") };
        assert_eq!((event.id, event.pid, event.comm.as_bytes()), (9, 42, b"sh".as_slice()));
    }

    #[test]
    fn oom_record_says_only_what_was_read() {
        let bare = record(size_of::<OomRecord>(), &[(0, RecordKind::Oom as u32), (20, 77)], &[(8, 1)], b"");
        let KernelEvent::Oom(event) = decode(&bare).unwrap() else { panic!("an OOM record") };
        let nothing = OomEvent {
            boot_ns: 1,
            victim_tid: 77,
            victim: None,
            trigger: None,
            uid: None,
            oom_score_adj: None,
            sizes: None,
            pgtables_bytes: None,
            memory_hierarchy_id: None,
            levels: Vec::new(),
        };
        assert_eq!(*event, nothing);

        let fields = OOM_VICTIM | OOM_UID | OOM_SCORE_ADJ | OOM_CGROUPS | OOM_LOCAL_EVENTS;
        let mut bytes = bare;
        bytes[100..104].copy_from_slice(&(-17_i32).to_ne_bytes());
        bytes[144..148].copy_from_slice(&fields.to_ne_bytes());
        bytes[148..152].copy_from_slice(&u32::MAX.to_ne_bytes());
        bytes[152..160].copy_from_slice(&88_u64.to_ne_bytes());
        let KernelEvent::Oom(event) = decode(&bytes).unwrap() else { panic!("an OOM record") };
        assert_eq!(event.victim.unwrap().tid, 77);
        assert_eq!((event.uid, event.oom_score_adj, event.sizes), (Some(0), Some(-17), None));
        assert_eq!(event.levels.len(), MEMCG_LEVELS);
        let first = event.levels[0];
        assert_eq!((first.id, first.local_ooms, first.oom_locked), (88, Some(0), None));
    }

    #[test]
    fn bad_records_are_refused() {
        assert_eq!(decode(b"abc"), Err(DecodeError::Short { length: 3, needed: 4 }));
        let unknown = RecordKind::ALL.len() as u32;
        assert_eq!(decode(&unknown.to_ne_bytes()), Err(DecodeError::UnknownKind(unknown)));
        let whole = cgroup_record(RecordKind::Mkdir, u32::MAX, 0, b"/abc");
        for length in 4..whole.len() {
            assert!(matches!(decode(&whole[..length]), Err(DecodeError::Short { .. })), "{length}");
        }
        let long = record(48, &[(40, 4096)], &[], &[b'x'; 4096]);
        assert_eq!(decode(&long), Err(DecodeError::PathLength(4096)));
    }

    proptest! {
        #[test]
        fn never_panics(kind in 0_u32..10, rest in prop::collection::vec(any::<u8>(), 0..1600)) {
            let mut bytes = kind.to_ne_bytes().to_vec();
            bytes.extend(rest);
            let _ = decode(&bytes);
        }
    }
}
