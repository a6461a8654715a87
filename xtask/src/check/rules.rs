//! Rules about one file at a time, apart from its imports.

use super::tokens::Token;

/// Longer files are split.
const MAX_LINES: usize = 500;

/// What is wrong with a Rust file.
pub(super) fn check_rust(path: &str, source: &str, tokens: &[Token]) -> Vec<(usize, String)> {
    let mut findings = Vec::new();
    if !source.trim_start().starts_with("//!") {
        findings.push((1, "a file starts with `//!`: what it is and what it is not".to_owned()));
    }
    let lines = source.lines().count();
    if lines > MAX_LINES {
        findings.push((lines, format!("{lines} lines, {MAX_LINES} are the limit: split it by what it is about")));
    }
    if path.starts_with("collector-ebpf/") && path.contains("oom") {
        findings.extend(current_task_in_oom(tokens));
    }
    findings
}

/// The OOM tracepoint runs in whatever task hit the limit, which need not be the victim: only the trigger itself may
/// be asked of the current task.
fn current_task_in_oom(tokens: &[Token]) -> Vec<(usize, String)> {
    let forbidden = |word: &str| {
        (word.starts_with("bpf_get_current") && !word.starts_with("bpf_get_current_task")) || word == "EbpfContext"
    };
    let uses = tokens.iter().filter_map(|token| token.word().filter(|word| forbidden(word)).map(|word| (token, word)));
    uses.map(|(token, word)| {
        (token.line, format!("`{word}` describes the task that hit the limit, not the victim of the OOM kill"))
    })
    .collect()
}

/// Words for work that was left undone, in any text file.
pub(super) fn check_text(source: &str) -> Vec<(usize, String)> {
    // Put together here so that this file does not report itself.
    const MARKERS: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];
    let mut findings = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        if let Some(marker) = words.find(|word| MARKERS.contains(word)) {
            findings.push((number + 1, format!("`{marker}`: do it, or open an issue")));
        }
    }
    findings
}

/// What is wrong with a member's manifest.
pub(super) fn check_manifest(source: &str) -> Vec<(usize, String)> {
    let table = source.parse::<toml::Table>().ok();
    let lints = table.as_ref().and_then(|table| table.get("lints")?.get("workspace")?.as_bool());
    if lints == Some(true) { Vec::new() } else { vec![(1, "a member has `[lints] workspace = true`".to_owned())] }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokenize;
    use super::*;

    fn rust(path: &str, source: &str) -> usize {
        check_rust(path, source, &tokenize(source)).len()
    }

    #[test]
    fn a_file_says_what_it_is() {
        assert_eq!(rust("collector/src/units.rs", "\n//! Units.\n"), 0);
        assert_eq!(rust("collector/src/units.rs", "// Units.\n"), 1);
    }

    #[test]
    fn long_files_are_reported_unless_listed() {
        let long = format!("//! Long.\n{}", "\n".repeat(MAX_LINES));
        assert_eq!(rust("collector/src/units.rs", &long), 1);
    }

    #[test]
    fn the_oom_program_asks_nothing_of_the_current_task_but_itself() {
        let path = "collector-ebpf/src/oom.rs";
        assert_eq!(rust(path, "//! O.\nfn f() { bpf_get_current_task_btf(); /* bpf_get_current_comm */ }"), 0);
        assert_eq!(rust(path, "//! O.\nfn f() { bpf_get_current_comm(); bpf_get_current_pid_tgid(); }"), 2);
        assert_eq!(rust("collector-ebpf/src/attach.rs", "//! A.\nfn f() { bpf_get_current_comm(); }"), 0);
    }

    #[test]
    fn unfinished_work_is_found_as_a_whole_word() {
        let source = format!("a\nmktemp /tmp/X{}X\n# {}: later\n", "XXXX", concat!("TO", "DO"));
        assert_eq!(check_text(&source).iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn members_opt_into_the_lints() {
        assert!(check_manifest("[package]\nname = \"a\"\n[lints]\nworkspace = true\n").is_empty());
        assert_eq!(check_manifest("[package]\nname = \"a\"\n[lints]\nworkspace = false\n").len(), 1);
        assert_eq!(check_manifest("[package]\nname = \"a\"\n").len(), 1);
    }
}
