//! Rules of users about which containers they want: globs on path, name, namespace and label.

use globset::{Candidate, GlobBuilder, GlobSet};

use crate::sample::identity::Identity;
use crate::sample::identity::kubernetes::POD_NAMESPACE;

/// A glob that is not one.
#[derive(Debug, thiserror::Error)]
#[error("{pattern:?} is not a glob: {reason}")]
pub struct GlobError {
    /// What was given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Whether `*` stands for a slash too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Star {
    /// It does not, `**` does: in paths.
    WithinElement,
    /// It does.
    Anything,
}

/// Some globs; none of them is no rule.
#[derive(Clone, Debug, Default)]
pub struct Globs {
    patterns: Vec<String>,
    set: GlobSet,
}

impl PartialEq for Globs {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

impl Eq for Globs {}

impl Globs {
    /// Reads globs: `*`, `**`, `?`, `[a-z]`, `{this,that}`, and `\` before what is meant as it is.
    ///
    /// # Errors
    /// When one of them is malformed.
    pub fn new(patterns: Vec<String>, star: Star) -> Result<Self, GlobError> {
        let error = |pattern: &str, error: &globset::Error| GlobError {
            pattern: pattern.to_owned(),
            reason: error.kind().to_string(),
        };
        let mut globs = Vec::with_capacity(patterns.len());
        for pattern in &patterns {
            let mut builder = GlobBuilder::new(pattern);
            builder.literal_separator(star == Star::WithinElement).backslash_escape(true);
            globs.push(builder.build().map_err(|problem| error(pattern, &problem))?);
        }
        let set = GlobSet::new(globs).map_err(|problem| error(&patterns.join(" "), &problem))?;
        Ok(Self { patterns, set })
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    fn fit(&self, text: &[u8]) -> bool {
        !self.is_empty() && self.set.is_match_candidate(&Candidate::from_bytes(text))
    }
}

/// What is wanted of one property: what fits an `exclude` is not, and if there is any `include`, only what fits one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// If any, only what fits one.
    pub include: Globs,
    /// Nothing that fits one.
    pub exclude: Globs,
}

impl Rule {
    fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// Whether something with these values is wanted.
    fn wants<'a>(&self, values: impl Iterator<Item = &'a [u8]>) -> bool {
        let (mut included, mut excluded) = (self.include.is_empty(), false);
        for value in values {
            included |= self.include.fit(value);
            excluded |= self.exclude.fit(value);
        }
        included && !excluded
    }
}

/// The rules; a container has to be wanted by each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// On the cgroup's path; one that fits a cgroup fits everything below it.
    pub path: Rule,
    /// On the container's name and id.
    pub name: Rule,
    /// On its runtime's name, as the API has it, and its pod's namespace.
    pub namespace: Rule,
    /// On its labels as `key=value`.
    pub label: Rule,
}

impl Rules {
    /// Whether the path alone leaves the cgroup in the running. The root always is.
    pub fn want_path(&self, path: &[u8]) -> bool {
        if path == b"/" || self.path.is_empty() {
            return true;
        }
        let above = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
        self.path.wants(above.chain([path]))
    }

    /// Whether there are rules about who a container is.
    pub fn ask_who(&self) -> bool {
        !(self.name.is_empty() && self.namespace.is_empty() && self.label.is_empty())
    }

    /// Whether a container is wanted for who it is. Of nobody, or of somebody who is not known yet, nothing fits: what
    /// has to fit is not wanted until it is known, what must not fit is.
    pub fn want(&self, who: Option<&Identity>) -> bool {
        let names = who.into_iter().flat_map(Identity::aliases).map(str::as_bytes);
        let pod = who.and_then(|who| who.labels.get(POD_NAMESPACE)).map(String::as_bytes);
        let namespaces = who.map(|who| who.runtime.namespace().as_bytes()).into_iter().chain(pod);
        let labels = who.into_iter().flat_map(|who| &who.labels);
        let labels: Vec<String> = if self.label.is_empty() {
            Vec::new()
        } else {
            labels.map(|(key, value)| format!("{key}={value}")).collect()
        };
        self.name.wants(names)
            && self.namespace.wants(namespaces)
            && self.label.wants(labels.iter().map(String::as_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::identity::Runtime;

    fn rule(include: &[&str], exclude: &[&str], star: Star) -> Rule {
        let globs = |patterns: &[&str]| {
            Globs::new(patterns.iter().map(|pattern| (*pattern).to_owned()).collect(), star).unwrap()
        };
        Rule { include: globs(include), exclude: globs(exclude) }
    }

    #[test]
    fn paths() {
        let wants = |include: &[&str], exclude: &[&str], path: &str| {
            let path_rule = rule(include, exclude, Star::WithinElement);
            Rules { path: path_rule, ..Rules::default() }.want_path(path.as_bytes())
        };
        for (include, exclude, path, expected) in [
            (&[][..], &[][..], "/a", true),
            (&[], &["/system.slice"], "/system.slice", false),
            (&[], &["/system.slice"], "/system.slice/ssh.service", false),
            (&[], &["/system.slice"], "/system.slicer", true),
            (&[], &["/system.slice/*.service"], "/system.slice", true),
            (&[], &["/system.slice/*.service"], "/system.slice/a.service/b", false),
            (&[], &["/*.service"], "/system.slice/a.service", true),
            (&[], &["**/*.service"], "/system.slice/a.service", false),
            (&[], &["**"], "/", true),
            (&["/docker"], &[], "/docker/x", true),
            (&["/docker"], &[], "/dockers", false),
            (&["/docker", "/kube*"], &["/kubepods/besteffort"], "/kubepods/burstable/x", true),
            (&["/docker", "/kube*"], &["/kubepods/besteffort"], "/kubepods/besteffort/x", false),
        ] {
            assert_eq!(wants(include, exclude, path), expected, "{include:?} {exclude:?} {path}");
        }
        // Names need not be text.
        assert!(!Rules { path: rule(&[], &["/a*"], Star::WithinElement), ..Rules::default() }.want_path(b"/a\xff"));
    }

    #[test]
    fn identities() {
        let mut web = Identity::from_path(Runtime::Docker, "0123".to_owned());
        web.name = Some("web-1".to_owned());
        web.labels = [("team", "a/b"), (POD_NAMESPACE, "kube-system")].map(|(k, v)| (k.into(), v.into())).into();
        let any = |include: &[&str], exclude: &[&str]| rule(include, exclude, Star::Anything);
        let name = |rule| Rules { name: rule, ..Rules::default() };
        let namespace = |rule| Rules { namespace: rule, ..Rules::default() };
        let label = |rule| Rules { label: rule, ..Rules::default() };
        for (rules, known, unknown) in [
            (Rules::default(), true, true),
            (name(any(&["web-*"], &[])), true, false),
            (name(any(&["012*"], &[])), true, false),
            (name(any(&["db"], &[])), false, false),
            (name(any(&[], &["web-?"])), false, true),
            (namespace(any(&["docker"], &[])), true, false),
            (namespace(any(&["podman", "kube-*"], &[])), true, false),
            (namespace(any(&["docker"], &["kube-system"])), false, false),
            (label(any(&["team=a*"], &[])), true, false),
            (label(any(&["team"], &[])), false, false),
            (label(any(&[], &["team=*"])), false, true),
            (Rules { name: any(&["web-1"], &[]), ..label(any(&[], &["team=a/b"])) }, false, false),
        ] {
            assert_eq!((rules.want(Some(&web)), rules.want(None)), (known, unknown), "{rules:?}");
        }
    }

    #[test]
    fn malformed_globs_are_named() {
        let error = Globs::new(vec!["/a[".to_owned()], Star::Anything).unwrap_err().to_string();
        assert!(error.starts_with("\"/a[\" is not a glob: "), "{error}");
    }
}
