//! A reader for the kernel's type information (BTF): names to struct offsets, nothing more.
//!
//! Own, because the daemon needs some forty numbers out of five megabytes: building an index of every type, as the
//! libraries do, took 130 ms and 40 MB where this takes a few milliseconds and no memory that stays. It trusts nothing in
//! its input: every access is checked, every recursion bounded.
//!
//! Format: <https://www.kernel.org/doc/html/v6.12/bpf/btf.html>.

/// Why the bytes are not BTF this reader understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// The magic number is missing (or is that of the other byte order).
    #[error("no BTF header")]
    Header,
    /// A section or a type reaches beyond the end of the data.
    #[error("cut short")]
    Truncated,
    /// A kind of type newer than this reader; types behind it cannot be found, as its length is not known.
    #[error("unknown kind of type {0}")]
    UnknownKind(u32),
}

const MAGIC: u16 = 0xeb9f;
/// Chains of typedefs and qualifiers, and nested anonymous members, end long before this in a real kernel.
const MAX_DEPTH: u32 = 32;

/// `BTF_KIND_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Int,
    Pointer,
    Array,
    Struct,
    Union,
    Enum,
    Forward,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Function,
    Prototype,
    Variable,
    DataSection,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl Kind {
    fn from_number(number: u32) -> Option<Self> {
        const KINDS: [Kind; 19] = [
            Kind::Int,
            Kind::Pointer,
            Kind::Array,
            Kind::Struct,
            Kind::Union,
            Kind::Enum,
            Kind::Forward,
            Kind::Typedef,
            Kind::Volatile,
            Kind::Const,
            Kind::Restrict,
            Kind::Function,
            Kind::Prototype,
            Kind::Variable,
            Kind::DataSection,
            Kind::Float,
            Kind::DeclTag,
            Kind::TypeTag,
            Kind::Enum64,
        ];
        KINDS.get((number as usize).checked_sub(1)?).copied()
    }

    /// Bytes that follow the 12 of every type.
    fn extra(self, entries: usize) -> usize {
        match self {
            Self::Int | Self::Variable | Self::DeclTag => 4,
            Self::Array => 12,
            Self::Struct | Self::Union | Self::DataSection | Self::Enum64 => entries * 12,
            Self::Enum | Self::Prototype => entries * 8,
            Self::Pointer
            | Self::Forward
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Function
            | Self::Float
            | Self::TypeTag => 0,
        }
    }
}

/// Type information, borrowed from the bytes of `/sys/kernel/btf/vmlinux`.
#[derive(Debug)]
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where each type starts in `types`, by its id less one.
    starts: Vec<u32>,
    /// Ids of the types that are looked up by name: the few among all functions and members.
    named: Vec<u32>,
}

/// A type, resolved as far as its fixed part.
#[derive(Clone, Copy)]
struct Type<'a> {
    kind: Kind,
    /// Members, enumerators or parameters.
    entries: usize,
    /// Members hold their width beside their offset.
    has_bitfields: bool,
    name: u32,
    /// The size or the type meant, as the kind has it.
    size_or_type: u32,
    /// What follows.
    rest: &'a [u8],
}

/// What a parameter of a function is, as far as needed here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// An integer.
    Integer,
    /// A pointer.
    Pointer,
    /// Anything else.
    Other,
}

impl<'a> Btf<'a> {
    /// Finds the types' places.
    ///
    /// # Errors
    /// When the bytes are not BTF in this machine's byte order, or end early.
    pub fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        let magic = data.get(..2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
        if magic != Some(MAGIC) {
            return Err(BtfError::Header);
        }
        let header = |at| word(data, at).ok_or(BtfError::Truncated);
        let after_header = data.get(header(4)? as usize..).ok_or(BtfError::Truncated)?;
        let types = section(after_header, header(8)?, header(12)?)?;
        let strings = section(after_header, header(16)?, header(20)?)?;
        let mut btf = Self { types, strings, starts: Vec::new(), named: Vec::new() };
        let mut at = 0;
        while at < types.len() {
            let info = word(types, at + 4).ok_or(BtfError::Truncated)?;
            let number = info >> 24 & 0x1f;
            let kind = Kind::from_number(number).ok_or(BtfError::UnknownKind(number))?;
            btf.starts.push(at as u32);
            if matches!(kind, Kind::Struct | Kind::Enum | Kind::Enum64 | Kind::Typedef) {
                btf.named.push(btf.starts.len() as u32);
            }
            at += 12 + kind.extra((info & 0xffff) as usize);
        }
        if at == types.len() { Ok(btf) } else { Err(BtfError::Truncated) }
    }

    /// The byte offset of a field, given as in C: `memory.usage`, `tasks[0].first`. Members of anonymous structs and
    /// unions belong to the struct around them. `None` when this kernel has no such field, or has it as a bit field.
    pub fn field_offset(&self, structure: &str, field: &str) -> Option<u32> {
        self.resolve_field(structure, field).map(|(offset, _)| offset)
    }

    /// How many elements the array in this field has.
    pub fn array_length(&self, structure: &str, field: &str) -> Option<u32> {
        let (_, id) = self.resolve_field(structure, field)?;
        Self::array(self.plain(id)?).map(|(_, length)| length)
    }

    /// The value of an enumerator.
    pub fn enumerator(&self, enumeration: &str, name: &str) -> Option<u32> {
        let found = self.find(enumeration, |kind| matches!(kind, Kind::Enum | Kind::Enum64))?;
        let width = if found.kind == Kind::Enum { 8 } else { 12 };
        found
            .rest
            .chunks_exact(width)
            .take(found.entries)
            .find(|entry| word(entry, 0).is_some_and(|at| self.is_named(at, name)))
            .and_then(|entry| word(entry, 4))
    }

    /// What the parameter at this index (from 0) is, of the function type behind a typedef of a pointer to it, which
    /// is how BTF describes a tracepoint (`btf_trace_*`; its first parameter is the kernel's own).
    pub fn parameter(&self, typedef: &str, index: usize) -> Option<Parameter> {
        let pointer = self.plain(self.find(typedef, |kind| kind == Kind::Typedef)?.size_or_type)?;
        let prototype = self.plain(pointer.size_or_type)?;
        if pointer.kind != Kind::Pointer || prototype.kind != Kind::Prototype || index >= prototype.entries {
            return None;
        }
        Some(match self.plain(word(prototype.rest, index * 8 + 4)?)?.kind {
            Kind::Int => Parameter::Integer,
            Kind::Pointer => Parameter::Pointer,
            _ => Parameter::Other,
        })
    }

    fn resolve_field(&self, structure: &str, field: &str) -> Option<(u32, u32)> {
        let mut offset = 0_u32;
        let mut id = None;
        for step in field.split('.') {
            let (name, index) = match step.split_once('[') {
                Some((name, rest)) => (name, Some(rest.strip_suffix(']')?.parse::<u32>().ok()?)),
                None => (step, None),
            };
            let container = match id {
                None => self.find(structure, |kind| kind == Kind::Struct)?,
                Some(id) => self.plain(id)?,
            };
            let (at, mut member) = self.member(container, name, 0)?;
            offset = offset.checked_add(at)?;
            if let Some(index) = index {
                let (element, length) = Self::array(self.plain(member)?)?;
                // A flexible array has no length.
                if length != 0 && index >= length {
                    return None;
                }
                offset = offset.checked_add(self.size(element, 0)?.checked_mul(index)?)?;
                member = element;
            }
            id = Some(member);
        }
        Some((offset, id?))
    }

    /// A member's byte offset and type.
    fn member(&self, container: Type<'a>, name: &str, depth: u32) -> Option<(u32, u32)> {
        if depth > MAX_DEPTH || !matches!(container.kind, Kind::Struct | Kind::Union) {
            return None;
        }
        for entry in container.rest.chunks_exact(12).take(container.entries) {
            let (name_at, id, position) = (word(entry, 0)?, word(entry, 4)?, word(entry, 8)?);
            let (bits, width) =
                if container.has_bitfields { (position & 0x00ff_ffff, position >> 24) } else { (position, 0) };
            if self.is_named(name_at, name) {
                return (bits % 8 == 0 && width == 0).then_some((bits / 8, id));
            }
            if self.string(name_at).is_some_and(<[u8]>::is_empty)
                && let Some(inner) = self.plain(id)
                && let Some((offset, id)) = self.member(inner, name, depth + 1)
            {
                return Some((offset.checked_add(bits / 8)?, id));
            }
        }
        None
    }

    /// An array's element type and length.
    fn array(found: Type<'a>) -> Option<(u32, u32)> {
        if found.kind == Kind::Array { Some((word(found.rest, 0)?, word(found.rest, 8)?)) } else { None }
    }

    fn size(&self, id: u32, depth: u32) -> Option<u32> {
        let found = self.plain(id)?;
        match found.kind {
            Kind::Pointer => Some(size_of::<usize>() as u32),
            Kind::Int | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Float => {
                Some(found.size_or_type)
            }
            Kind::Array if depth < MAX_DEPTH => {
                let (element, length) = Self::array(found)?;
                self.size(element, depth + 1)?.checked_mul(length)
            }
            _ => None,
        }
    }

    /// The type with this id, without typedefs and qualifiers around it.
    fn plain(&self, id: u32) -> Option<Type<'a>> {
        let mut found = self.at(id)?;
        for _ in 0..MAX_DEPTH {
            match found.kind {
                Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                    found = self.at(found.size_or_type)?;
                }
                _ => return Some(found),
            }
        }
        None
    }

    fn find(&self, name: &str, wanted: impl Fn(Kind) -> bool) -> Option<Type<'a>> {
        let named = |found: &Type<'a>| wanted(found.kind) && self.is_named(found.name, name);
        self.named.iter().filter_map(|&id| self.at(id)).find(named)
    }

    fn at(&self, id: u32) -> Option<Type<'a>> {
        let start = *self.starts.get((id as usize).checked_sub(1)?)? as usize;
        let info = word(self.types, start + 4)?;
        Some(Type {
            kind: Kind::from_number(info >> 24 & 0x1f)?,
            entries: (info & 0xffff) as usize,
            has_bitfields: info >> 31 == 1,
            name: word(self.types, start)?,
            size_or_type: word(self.types, start + 8)?,
            rest: self.types.get(start + 12..)?,
        })
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        rest.strip_prefix(name.as_bytes()).is_some_and(|end| end.first() == Some(&0))
    }

    fn string(&self, at: u32) -> Option<&'a [u8]> {
        self.strings.get(at as usize..)?.split(|&byte| byte == 0).next()
    }
}

fn section(data: &[u8], offset: u32, length: u32) -> Result<&[u8], BtfError> {
    data.get(offset as usize..).and_then(|rest| rest.get(..length as usize)).ok_or(BtfError::Truncated)
}

/// The 32-bit word at a byte offset, in this machine's byte order.
fn word(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Builds BTF the way the kernel's tools lay it out.
    #[derive(Default)]
    struct Builder {
        types: Vec<u8>,
        strings: Vec<u8>,
        count: u32,
    }

    impl Builder {
        fn new() -> Self {
            Self { strings: vec![0], ..Self::default() }
        }

        fn name(&mut self, name: &str) -> u32 {
            if name.is_empty() {
                return 0;
            }
            let at = self.strings.len() as u32;
            self.strings.extend(name.bytes().chain([0]));
            at
        }

        fn add(&mut self, name: &str, kind: u32, entries: u32, size_or_type: u32, rest: &[u32]) -> u32 {
            let name = self.name(name);
            for word in [name, kind << 24 | entries, size_or_type].iter().chain(rest) {
                self.types.extend(word.to_ne_bytes());
            }
            self.count += 1;
            self.count
        }

        fn structure(&mut self, kind: u32, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
            let mut rest = Vec::new();
            for &(name, id, bits) in members {
                rest.extend([self.name(name), id, bits]);
            }
            self.add(name, kind, members.len() as u32, size, &rest)
        }

        fn bytes(&self) -> Vec<u8> {
            let mut bytes = Vec::from(MAGIC.to_ne_bytes());
            bytes.extend([1, 0]);
            let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
            for word in [24, 0, types, types, strings] {
                bytes.extend(word.to_ne_bytes());
            }
            bytes.extend(&self.types);
            bytes.extend(&self.strings);
            bytes
        }
    }

    const STRUCT: u32 = 4;
    const UNION: u32 = 5;

    /// `struct outer { u32 first; union { struct { u64 deep; }; u64 other; }; counter_t counts[4]; int flag: 1; }`
    fn example() -> Vec<u8> {
        let mut btf = Builder::new();
        let int = btf.add("int", 1, 0, 4, &[32]);
        let long = btf.add("long", 1, 0, 8, &[64]);
        let counter = btf.structure(STRUCT, "counter", 16, &[("lock", int, 0), ("count", long, 64)]);
        let typedef = btf.add("counter_t", 8, 0, counter, &[]);
        let constant = btf.add("", 10, 0, typedef, &[]);
        let array = btf.add("", 3, 0, 0, &[constant, int, 4]);
        let inner = btf.structure(STRUCT, "", 8, &[("deep", long, 0)]);
        let union = btf.structure(UNION, "", 8, &[("", inner, 0), ("other", long, 0)]);
        let members = [("first", int, 0), ("", union, 64), ("counts", array, 128)];
        btf.structure(STRUCT, "outer", 80, &members);
        let bits = btf.name("bits");
        let position = 1 << 24 | 32;
        btf.add("packed", STRUCT | 1 << 7, 1, 4, &[bits, int, position]);
        let value = btf.name("memory_cgrp_id");
        btf.add("cgroup_subsys_id", 6, 1, 4, &[value, 4]);
        let pointer = btf.add("", 2, 0, counter, &[]);
        let prototype = btf.add("", 13, 3, 0, &[0, pointer, 0, int, 0, pointer]);
        let to_prototype = btf.add("", 2, 0, prototype, &[]);
        btf.add("btf_trace_example", 8, 0, to_prototype, &[]);
        btf.bytes()
    }

    #[test]
    fn finds_fields_through_anonymous_members_arrays_and_typedefs() {
        let bytes = example();
        let btf = Btf::parse(&bytes).unwrap();
        for (structure, field, expected) in [
            ("outer", "first", Some(0)),
            ("outer", "deep", Some(8)),
            ("outer", "other", Some(8)),
            ("outer", "counts", Some(16)),
            ("outer", "counts[0].count", Some(24)),
            ("outer", "counts[3].count", Some(72)),
            ("outer", "counts[4].count", None),
            ("outer", "counts[x]", None),
            ("outer", "count", None),
            ("outer", "first.deeper", None),
            ("packed", "bits", None),
            ("counter", "count", Some(8)),
            ("counter_t", "count", None),
            ("oute", "first", None),
            ("nothing", "first", None),
        ] {
            assert_eq!(btf.field_offset(structure, field), expected, "{structure}.{field}");
        }
        assert_eq!(btf.array_length("outer", "counts"), Some(4));
        assert_eq!(btf.array_length("outer", "first"), None);
        assert_eq!(btf.enumerator("cgroup_subsys_id", "memory_cgrp_id"), Some(4));
        assert_eq!(btf.enumerator("cgroup_subsys_id", "memory"), None);
        assert_eq!(btf.parameter("btf_trace_example", 1), Some(Parameter::Integer));
        assert_eq!(btf.parameter("btf_trace_example", 2), Some(Parameter::Pointer));
        assert_eq!(btf.parameter("btf_trace_example", 3), None);
    }

    #[test]
    fn endless_type_chains_end() {
        let mut builder = Builder::new();
        builder.add("loop", 8, 0, 2, &[]);
        builder.add("", 10, 0, 1, &[]);
        builder.structure(STRUCT, "own", 8, &[("", 3, 0), ("a", 1, 0)]);
        let bytes = builder.bytes();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.field_offset("own", "missing"), None);
        assert_eq!(btf.field_offset("own", "a.b"), None);
        assert_eq!(btf.parameter("loop", 1), None);
    }

    #[test]
    fn bad_data_is_named() {
        assert_eq!(Btf::parse(b"").unwrap_err(), BtfError::Header);
        assert_eq!(Btf::parse(&MAGIC.swap_bytes().to_ne_bytes()).unwrap_err(), BtfError::Header);
        let whole = example();
        assert_eq!(Btf::parse(&whole[..20]).unwrap_err(), BtfError::Truncated);
        assert_eq!(Btf::parse(&whole[..whole.len() - 1]).unwrap_err(), BtfError::Truncated);
        let mut builder = Builder::new();
        builder.add("new", 31, 0, 0, &[]);
        assert_eq!(Btf::parse(&builder.bytes()).unwrap_err(), BtfError::UnknownKind(31));
    }

    fn query(data: &[u8]) {
        if let Ok(btf) = Btf::parse(data) {
            for (structure, field) in [("outer", "deep"), ("outer", "counts[3].count"), ("own", "x")] {
                let _ = btf.field_offset(structure, field);
                let _ = btf.array_length(structure, field);
            }
            let _ = btf.enumerator("cgroup_subsys_id", "memory_cgrp_id");
            let _ = btf.parameter("btf_trace_example", 1);
        }
    }

    proptest! {
        #[test]
        fn never_panics_on_noise(data in prop::collection::vec(any::<u8>(), 0..400)) {
            query(&data);
        }

        #[test]
        fn never_panics_on_damage(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
            let mut data = example();
            for (at, byte) in changes {
                let at = at.index(data.len());
                data[at] = byte;
            }
            query(&data);
        }
    }
}
