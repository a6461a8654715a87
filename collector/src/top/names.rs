//! What containers are called and what they belong to, as the page has it.

use std::fmt::Write as _;

use super::wire::Who;

const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const CONTAINER_NAME: &str = "io.kubernetes.container.name";
const PROJECTS: [&str; 2] = ["com.docker.compose.project", "io.podman.compose.project"];
/// Letters of a long id that are shown.
const SHORT_ID: usize = 12;

/// What a group is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupKind {
    Project,
    Pod,
    Slice,
    Runtime,
    Cgroup,
}

impl GroupKind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Project => "compose",
            Self::Pod => "pod",
            Self::Slice => "systemd",
            Self::Runtime => "runtime",
            Self::Cgroup => "cgroup",
        }
    }
}

fn label<'a>(who: &'a Who, key: &str) -> Option<&'a str> {
    who.labels.get(key).map(String::as_str).filter(|value| !value.is_empty())
}

/// The name that a person would call it.
pub(super) fn title(who: &Who) -> String {
    if let Some(name) = label(who, CONTAINER_NAME) {
        return if name == "POD" { "(sandbox)" } else { name }.to_owned();
    }
    if label(who, POD_NAME).is_some() && who.runtime.is_some() {
        return "(sandbox)".to_owned();
    }
    if let Some(called) = &who.called {
        return called.clone();
    }
    if let Some(id) = &who.container {
        return id.chars().take(SHORT_ID).collect();
    }
    shortened(&unescaped(last_of(&who.name)))
}

/// The group, and what it is made of.
pub(super) fn group(who: &Who) -> (String, GroupKind) {
    if let Some(pod) = label(who, POD_NAME) {
        return (format!("{}/{pod}", label(who, POD_NAMESPACE).unwrap_or("default")), GroupKind::Pod);
    }
    // As long as no runtime has reported more.
    if let Some(uid) = &who.pod {
        return (format!("pod {}", uid.chars().take(8).collect::<String>()), GroupKind::Pod);
    }
    if let Some(project) = PROJECTS.iter().find_map(|key| label(who, key)) {
        return (project.to_owned(), GroupKind::Project);
    }
    if let Some(runtime) = &who.runtime {
        return (runtime.clone(), GroupKind::Runtime);
    }
    if let Some(slice) = who.name.split('/').rfind(|segment| segment.strip_suffix(".slice").is_some()) {
        return (unescaped(slice), GroupKind::Slice);
    }
    (shortened(parent_of(&who.name)), GroupKind::Cgroup)
}

/// Everything that is searched, in lower case.
pub(super) fn searched(who: &Who, title: &str, group: &str) -> String {
    let mut text = [title, group, &who.name].join("\n");
    for more in [&who.called, &who.image, &who.container].into_iter().flatten() {
        text.push('\n');
        text.push_str(more);
    }
    for (key, value) in &who.labels {
        text.push('\n');
        text.push_str(key);
        text.push('=');
        text.push_str(value);
    }
    text.to_lowercase()
}

/// By what restarts of one and the same thing are recognized: the containers of a pod have another cgroup each time.
pub(super) fn life_key(name: &str, title: &str, group: &str, kind: GroupKind) -> String {
    if kind == GroupKind::Pod { format!("{group}\n{title}") } else { name.to_owned() }
}

/// The cgroups above this one, from below, but for the root.
pub(super) fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.rfind('/').map(|at| &name[..at]))
        .skip(1)
        .filter(|name| !name.is_empty())
}

pub(super) fn parent_of(name: &str) -> &str {
    match name.rfind('/') {
        Some(at) if at > 0 => &name[..at],
        _ => "/",
    }
}

fn last_of(name: &str) -> &str {
    if name == "/" { name } else { name.rsplit('/').next().unwrap_or(name) }
}

/// Ids shortened as runtimes show them.
fn shortened(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).count();
        if (32..=64).contains(&digits) {
            out.push_str(&rest[..SHORT_ID]);
            rest = &rest[digits..];
            continue;
        }
        // Digits that are no id, and what follows them up to the next.
        let end = digits
            + rest[digits..]
                .find(|letter: char| matches!(letter, '0'..='9' | 'a'..='f'))
                .unwrap_or(rest.len() - digits);
        let end = end.max(digits);
        out.push_str(&rest[..end]);
        rest = &rest[end..];
    }
    out
}

/// systemd's names of units, read as a person would write them.
fn unescaped(segment: &str) -> String {
    let mut parts = segment.split("\\x");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if let Some(byte) = part.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok()) {
            out.push(char::from(byte));
            out.push_str(&part[2..]);
        } else {
            out.push_str("\\x");
            out.push_str(part);
        }
    }
    out
}

/// The title as it sorts: in lower case, with its numbers in the order of numbers.
pub(super) fn order(title: &str) -> String {
    const DIGITS: usize = 9;
    let lower = title.to_lowercase();
    let mut order = String::with_capacity(lower.len() + DIGITS);
    for part in lower.as_bytes().chunk_by(|one, other| one.is_ascii_digit() == other.is_ascii_digit()) {
        let part = String::from_utf8_lossy(part);
        let width = if part.starts_with(|first: char| first.is_ascii_digit()) { DIGITS } else { 0 };
        // Writing to a string cannot fail.
        let _ = write!(order, "{part:0>width$}");
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(name: &str, labels: &[(&str, &str)]) -> Who {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Who { name: name.to_owned(), labels, ..Who::default() }
    }

    #[test]
    fn names_sort_by_their_numbers() {
        let mut names = ["c10", "C2", "c1", "ä1", "c2b", "web-1-a", "web-10-a", "web-9-a"];
        names.sort_by_key(|name| order(name));
        assert_eq!(names, ["c1", "C2", "c2b", "c10", "web-1-a", "web-9-a", "web-10-a", "ä1"]);
    }

    #[test]
    fn names_are_those_of_people() {
        let id = "0123456789abcdef".repeat(4);
        let bare = who(&format!("/system.slice/run-{id}.scope"), &[]);
        assert_eq!(title(&bare), "run-0123456789ab.scope");
        assert_eq!(group(&bare), ("system.slice".to_owned(), GroupKind::Slice));
        assert_eq!(title(&who("/a/dev-disk\\x2dby.mount", &[])), "dev-disk-by.mount");
        assert_eq!(title(&who("/", &[])), "/");
        let docker = Who { runtime: Some("docker".into()), container: Some(id.clone()), ..who("/docker/x", &[]) };
        assert_eq!((title(&docker).as_str(), group(&docker).0.as_str()), ("0123456789ab", "docker"));
        let named = Who { called: Some("web".into()), ..who("/docker/x", &[("com.docker.compose.project", "shop")]) };
        assert_eq!((title(&named).as_str(), group(&named)), ("web", ("shop".to_owned(), GroupKind::Project)));
        let pod = [(POD_NAME, "auth"), (POD_NAMESPACE, "prod"), (CONTAINER_NAME, "envoy")];
        let pod = Who { runtime: Some("containerd".into()), ..who("/kubepods/x", &pod) };
        assert_eq!((title(&pod).as_str(), group(&pod)), ("envoy", ("prod/auth".to_owned(), GroupKind::Pod)));
        assert_eq!(group(&who("/a/b", &[])), ("/a".to_owned(), GroupKind::Cgroup));
        assert!(searched(&pod, "envoy", "prod/auth").contains("io.kubernetes.pod.name=auth"));
    }

    #[test]
    fn ancestors_end_below_the_root() {
        assert_eq!(ancestors("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a"]);
        assert_eq!(ancestors("/a").count(), 0);
        assert_eq!(ancestors("/").count(), 0);
        assert_eq!(["/a/b", "/a", "/"].map(parent_of), ["/a", "/", "/"]);
        assert_eq!(shortened("abc-xyz-0"), "abc-xyz-0");
    }
}
