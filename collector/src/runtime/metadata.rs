//! How much of what a container calls itself is kept: labels, variables, names. Whoever starts a container decides how
//! much there is, and it is repeated in every series of the container.
//!
//! What does not fit is left out, never cut: two values with one beginning would become one series. Only the name is
//! cut, since without it nobody finds the container; it then ends in a part of the container's id.

use std::collections::BTreeMap;
use std::path::Path;

use crate::bounds::Bound;
use crate::sample::filesystem::{ContainerFiles, LayerPlace, LogPlace};
use crate::sample::identity::{Identity, pair};

/// Labels and variables of a container, by number.
const KEYS: usize = 256;
/// Bytes of a label's or a variable's name.
const KEY_BYTES: usize = 256;
/// Bytes of a label's or a variable's value.
const VALUE_BYTES: usize = 8 * 1024;
/// Bytes of all labels and variables of a container.
const CONTAINER_BYTES: usize = 32 * 1024;
/// Bytes of a container that it has in any case, whatever all of them take together.
const OWN_BYTES: usize = 4 * 1024;
/// Bytes of all labels and variables of all containers, beyond those that each has in any case.
const SHARED_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a container's name and of its image's.
const NAME_BYTES: usize = 1024;
/// Bytes of the path of a file: what one system call takes.
const PATH_BYTES: usize = 4096;
/// Bytes of a container's id that the end of a name that was cut has.
const ID_BYTES: usize = 12;

/// Beginnings of the labels by which containers are found, in the order in which they are kept.
const WELL_KNOWN: [&str; 9] = [
    "io.kubernetes.",
    "io.cri-containerd.",
    "com.docker.compose.",
    "com.docker.swarm.",
    "com.docker.stack.",
    "io.podman.",
    "app.kubernetes.io/",
    "restartcount",
    "org.opencontainers.image.",
];

/// What all containers take beyond what each has in any case.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Budget {
    shared: usize,
}

/// What a container takes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share(usize);

/// What was left out of a container's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Labels and variables.
    pub(super) pairs: u64,
    /// Names and paths.
    pub(super) names: u64,
}

impl LeftOut {
    fn pair(&mut self, bound: Bound) {
        self.pairs += 1;
        bound.exceeded();
    }

    fn name(&mut self) {
        self.names += 1;
        Bound::NameBytes.exceeded();
    }
}

impl Budget {
    /// Keeps what there is room for; `share` is what the container had before.
    pub(super) fn fit(&mut self, identity: &mut Identity, share: &mut Share) -> LeftOut {
        self.give_back(share);
        let mut left_out = LeftOut::default();
        bound_names(identity, &mut left_out);
        let room = OWN_BYTES + (CONTAINER_BYTES - OWN_BYTES).min(SHARED_BYTES - self.shared);
        let used = bound_pairs(identity, room, &mut left_out);
        *share = Share(used.saturating_sub(OWN_BYTES));
        self.shared += share.0;
        left_out
    }

    /// The container is gone.
    pub(super) fn give_back(&mut self, share: &mut Share) {
        self.shared -= std::mem::take(share).0;
    }
}

/// Where in the order a label is kept: those that are well known first.
fn rank(key: &str) -> usize {
    WELL_KNOWN.iter().position(|beginning| key.starts_with(beginning)).unwrap_or(WELL_KNOWN.len())
}

/// Keeps of the labels and variables what fits, in an order that is the same each time; how many bytes that are. The
/// variables were asked for by a flag and go before labels that are not well known.
fn bound_pairs(identity: &mut Identity, room: usize, left_out: &mut LeftOut) -> usize {
    let labels = std::mem::take(&mut identity.labels).into_iter();
    let variables = std::mem::take(&mut identity.environment).into_iter();
    let mut pairs: Vec<_> = labels.map(|(key, value)| (rank(&key), MetadataKind::Label, key, value)).collect();
    pairs.extend(variables.map(|(key, value)| (WELL_KNOWN.len(), MetadataKind::Variable, key, value)));
    pairs.sort();
    let (mut used, mut kept) = (0, 0);
    let (mut labels, mut environment) = (BTreeMap::new(), BTreeMap::new());
    for (_, kind, key, value) in pairs {
        let bytes = pair(&key, &value);
        if key.len() > KEY_BYTES {
            left_out.pair(Bound::MetadataKeyBytes);
        } else if value.len() > VALUE_BYTES {
            left_out.pair(Bound::MetadataValueBytes);
        } else if kept == KEYS {
            left_out.pair(Bound::MetadataKeys);
        } else if used + bytes > room {
            left_out.pair(if room < CONTAINER_BYTES { Bound::MetadataTotalBytes } else { Bound::MetadataBytes });
        } else {
            used += bytes;
            kept += 1;
            match kind {
                MetadataKind::Label => labels.insert(key, value),
                MetadataKind::Variable => environment.insert(key, value),
            };
        }
    }
    identity.labels = labels;
    identity.environment = environment;
    used
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum MetadataKind {
    Variable,
    Label,
}

fn bound_names(identity: &mut Identity, left_out: &mut LeftOut) {
    if let Some(name) = identity.name.as_mut().filter(|name| name.len() > NAME_BYTES) {
        let id = identity.id.get(..ID_BYTES).unwrap_or(&identity.id);
        name.truncate(name.floor_char_boundary(NAME_BYTES - id.len() - 1));
        name.push('~');
        name.push_str(id);
        left_out.name();
    }
    for text in [&mut identity.image, &mut identity.health, &mut identity.files.driver] {
        if text.take_if(|text| text.len() > NAME_BYTES).is_some() {
            left_out.name();
        }
    }
    let ContainerFiles { layer, runtime_directory, log, .. } = &mut identity.files;
    let is_long = |path: &Path| path.as_os_str().len() > PATH_BYTES;
    let long_layer = layer.take_if(|layer| match layer {
        LayerPlace::Directory(path) => is_long(path),
        LayerPlace::NamedIn { file, parent } => is_long(file) || is_long(parent),
        LayerPlace::Dataset { name, mount_point } => name.len() > PATH_BYTES || is_long(mount_point),
        LayerPlace::ThinDevice { name, .. } => name.len() > PATH_BYTES,
    });
    let long_log = log.take_if(|log| match log {
        LogPlace::File(path) | LogPlace::Directory(path) => is_long(path),
    });
    let long_directory = runtime_directory.take_if(|directory| is_long(directory));
    let long = [long_layer.is_some(), long_log.is_some(), long_directory.is_some()];
    long.iter().filter(|is_long| **is_long).for_each(|_| left_out.name());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::identity::Runtime;

    fn with(labels: impl IntoIterator<Item = (String, String)>) -> Identity {
        Identity {
            labels: labels.into_iter().collect(),
            ..Identity::from_path(Runtime::Docker, "0123456789abcdef".repeat(4))
        }
    }

    fn label(key: &str, bytes: usize) -> (String, String) {
        (key.to_owned(), "x".repeat(bytes))
    }

    fn fitted(mut identity: Identity) -> (Identity, LeftOut) {
        let left_out = Budget::default().fit(&mut identity, &mut Share::default());
        (identity, left_out)
    }

    #[test]
    fn a_key_and_a_value_at_and_beyond_their_bounds() {
        let long = |bytes| "k".repeat(bytes);
        let (found, left_out) = fitted(with([
            label(&long(KEY_BYTES), 1),
            label(&long(KEY_BYTES + 1), 1),
            label("at", VALUE_BYTES),
            label("beyond", VALUE_BYTES + 1),
        ]));
        let keys: Vec<_> = found.labels.keys().cloned().collect();
        assert_eq!(keys, ["at".to_owned(), long(KEY_BYTES)], "left out, not cut");
        assert_eq!(found.labels["at"].len(), VALUE_BYTES);
        assert_eq!(left_out.pairs, 2);
    }

    #[test]
    fn of_two_thousand_labels_the_well_known_are_kept_and_then_the_first_by_name() {
        let before = Bound::MetadataKeys.count();
        let many = (0..2_000).map(|number| label(&format!("a{number:04}"), 10));
        let well_known =
            ["com.docker.compose.project", "io.kubernetes.pod.name", "restartcount"].map(|key| label(key, 5));
        let (found, left_out) = fitted(with(many.chain(well_known)));
        assert_eq!(found.labels.len(), KEYS);
        assert!(found.labels.contains_key("com.docker.compose.project") && found.labels.contains_key("restartcount"));
        assert!(found.labels.contains_key("io.kubernetes.pod.name"));
        assert!(found.labels.contains_key("a0000") && !found.labels.contains_key("a1999"));
        assert_eq!(left_out.pairs, 2_003 - KEYS as u64);
        assert!(Bound::MetadataKeys.count() >= before + left_out.pairs);
    }

    #[test]
    fn bytes_of_one_container() {
        let (found, left_out) = fitted(with((0..100).map(|number| label(&format!("a{number:02}"), 1_000))));
        assert!(found.labels.len() > 25 && found.labels.len() < 33, "{}", found.labels.len());
        assert_eq!(found.labels.len() as u64 + left_out.pairs, 100);
        let mut with_variable = with((0..100).map(|number| label(&format!("a{number:02}"), 1_000)));
        with_variable.environment.insert("zone".to_owned(), "x".repeat(500));
        assert_eq!(fitted(with_variable).0.environment.len(), 1, "what was asked for stays");
    }

    #[test]
    fn others_keep_their_share_whatever_one_has() {
        let mut budget = Budget::default();
        let large = || with((0..200).map(|number| label(&format!("a{number:03}"), 1_000)));
        let mut shares = Vec::new();
        for _ in 0..1_000 {
            let mut share = Share::default();
            budget.fit(&mut large(), &mut share);
            shares.push(share);
            assert!(budget.shared <= SHARED_BYTES);
        }
        let mut honest = with([label("io.kubernetes.pod.name", 60), label("app", 20), label("team", 2_000)]);
        let before = honest.clone();
        let mut share = Share::default();
        assert_eq!(budget.fit(&mut honest, &mut share), LeftOut::default());
        assert_eq!((honest, share), (before, Share(0)));
        assert!(budget.fit(&mut large(), &mut share).pairs > 190, "only what each has in any case");
        for share in &mut shares {
            budget.give_back(share);
        }
        assert_eq!(budget.shared, share.0);
        let again = budget.fit(&mut large(), &mut share);
        assert!(again.pairs < 175, "there is room again");
    }

    #[test]
    fn a_name_is_cut_and_stays_unique_and_other_texts_are_left_out() {
        let at = Identity { name: Some("n".repeat(NAME_BYTES)), image: Some("i".repeat(NAME_BYTES)), ..with([]) };
        assert_eq!(fitted(at.clone()), (at, LeftOut::default()));
        let beyond =
            Identity { name: Some("ö".repeat(NAME_BYTES)), image: Some("i".repeat(NAME_BYTES + 1)), ..with([]) };
        let (found, left_out) = fitted(beyond);
        let name = found.name.unwrap();
        assert!(name.len() <= NAME_BYTES && name.ends_with("ö~0123456789ab"), "{name}");
        assert_eq!((found.image, left_out.names), (None, 2));
        let mut far = with([]);
        far.files.runtime_directory = Some("x".repeat(PATH_BYTES + 1).into());
        far.files.log = Some(LogPlace::File("x".repeat(PATH_BYTES).into()));
        let (found, left_out) = fitted(far);
        assert!(found.files.runtime_directory.is_none() && found.files.log.is_some());
        assert_eq!(left_out.names, 1);
    }
}
