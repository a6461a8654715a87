//! `collector top` on a real terminal, over containers of an engine.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::Signal;
use serde_json::Value;

use crate::auth::{Files, certificate, flag};
use crate::page::World;
use crate::support::cgroups::{Cgroups, Set};
use crate::support::collector::{Collector, Rights};
use crate::support::docker::Docker;
use crate::support::harness::Case;
use crate::support::settings::settings;
use crate::support::terminal::{PROMPT, Terminal};
use crate::support::{Context as _, Result, ensure, process, wait};

pub(crate) const CASES: &[Case] = &[
    Case::new("top::on_a_terminal", on_a_terminal).within(120),
    Case::new("top::hostile_names_and_small_screens", hostile_names_and_small_screens),
    Case::new("top::gives_the_terminal_back", gives_the_terminal_back),
    Case::new("top::goes_on_without_an_answer", goes_on_without_an_answer),
    Case::new("top::remote_with_token_and_tls", remote_with_token_and_tls),
    Case::new("top::without_a_collector", without_a_collector),
    Case::new("top::once_for_scripts", once_for_scripts),
    // Ten seconds, of which the history's first are most.
    Case::new("top::walks_through_the_past", walks_through_the_past),
];

/// The command line of `collector top` with these flags.
fn top(flags: &[&str]) -> String {
    let quoted: Vec<_> = flags.iter().map(|flag| format!("'{flag}'")).collect();
    format!("{} top {}", settings().collector.display(), quoted.join(" "))
}

fn url(collector: &Collector) -> String {
    format!("--url=http://{}", collector.address())
}

/// Names of the containers in the table, from the top.
fn names(screen: &str) -> Vec<String> {
    let table = screen.lines().skip_while(|line| !line.trim_start().starts_with("NAME")).skip(1);
    let names = table.filter_map(|line| line.trim_start_matches('>').split_whitespace().next());
    names.filter(|name| name.starts_with("shop-") || name.starts_with("leaky")).map(str::to_owned).collect()
}

/// The line about a container.
fn line<'a>(screen: &'a str, name: &str) -> &'a str {
    let is_it = |line: &&str| line.trim_start_matches('>').split_whitespace().next() == Some(name);
    screen.lines().find(is_it).unwrap_or_default()
}

fn on_a_terminal() -> Result<()> {
    let docker = Docker::start()?;
    let mut world = World::new(&docker)?;
    let socket = format!("--docker=unix://{}", docker.socket().display());
    let files = Files::new("top")?;
    let history = flag("history_dir", &files.path().join("history"));
    let collector = Collector::start(&[&socket, "--housekeeping_interval=1s", &history, "--history_step=1s"])?;
    let terminal = Terminal::open(120, 40, &[])?;
    terminal.runs(&top(&[&url(&collector)]))?;
    let sees = |about: &str, is_so: &dyn Fn(&str) -> bool| terminal.sees(about, is_so);
    let words = ["live ", "CPU ", "MEM ", "PSI ", " containers", "lost events ", "HURTS", "q quit"];
    sees("the head", &|screen| words.iter().all(|word| screen.contains(word)))?;

    terminal.types("/shop-")?;
    terminal.press("Enter")?;
    let is_first = |name: &'static str| move |screen: &str| names(screen).first().is_some_and(|first| first == name);
    sees("by CPU, among what is filtered", &|screen| {
        is_first("shop-api-1")(screen) && screen.contains("filter shop-: ") && names(screen).len() >= 4
    })?;
    sees("throttling hurts", &|screen| line(screen, "shop-api-1").contains('!'))?;
    let red = terminal.coloured()?;
    ensure!(red.contains("38;5;1") || red.contains("31m"), "nothing is red:\n{red:?}");
    terminal.types("m")?;
    let screen = sees("by memory", &is_first("shop-cache-1"))?;
    ensure!(line(&screen, "shop-cache-1").matches('!').count() >= 1, "memory near its limit does not hurt:\n{screen}");
    terminal.types("m")?;
    sees("the other way around", &|screen| names(screen).len() >= 4 && !is_first("shop-cache-1")(screen))?;
    for (key, head) in [("t", "THR%▾"), ("n", "NET IN▾"), ("d", "WRITE▾"), ("p", "PSI%▾"), ("c", "CPU%▾")] {
        terminal.types(key)?;
        sees(head, &|screen| screen.contains(head))?;
    }

    terminal.types("g")?;
    sees("groups", &|screen| screen.lines().any(|line| line.contains("▾ shop  compose ")))?;
    terminal.types("g")?;
    terminal.types("o")?;
    sees("only what suffers", &|screen| {
        let names = names(screen);
        screen.contains("only OOM-killed or throttled")
            && names.contains(&"shop-api-1".to_owned())
            && !names.contains(&"shop-web-1".to_owned())
    })?;

    // The first is the only one that burns.
    terminal.press("Enter")?;
    let words = ["of a quota of 20.0%", "throttled", "CPU, 2 min", "memory, 2 min", "PID", "sh", "compose shop", "█"];
    sees("one container", &|screen| words.iter().all(|word| screen.contains(word)))?;
    terminal.press("Escape")?;
    terminal.press("Escape")?;
    sees("no filter any more", &|screen| !screen.contains("filter shop"))?;
    world.act("oom")?;
    let killed = std::time::Instant::now();
    sees("the killed container", &|screen| line(screen, "leaky").contains("OOM-killed"))?;
    let after = killed.elapsed();
    terminal.types("e")?;
    sees("the kill among the events", &|screen| {
        screen.lines().any(|line| {
            line.contains("leaky") && line.contains("OOM-killed: busybox") && line.contains("its limit of 16.0M")
        })
    })?;
    ensure!(after < wait::seconds(6), "an OOM kill was shown after {after:?}");
    terminal.types("e")?;

    terminal.press("Space")?;
    sees("paused", &|screen| screen.contains("PAUSED"))?;
    terminal.press("Space")?;
    sees("live again", &|screen| screen.contains("live "))?;
    terminal.types("?")?;
    sees("help", &|screen| screen.contains("sort by CPU, memory, network") && screen.contains("quit"))?;
    terminal.types("q")?;
    sees("the shell", &|screen| screen.trim_end().ends_with(PROMPT))?;

    // What had ended by a moment of the past says how.
    world.act("end")?;
    wait::eventually(wait::seconds(15), || {
        let json = once(&[&url(&collector), "--at=-1s", "--filter=batch"])?;
        let batch = &json["containers"][0];
        let exit = batch["exit"].as_str().unwrap_or_default();
        ensure!(batch["ended"].is_string() && exit.starts_with("killed by SIGKILL"), "{json}");
        Ok(())
    })?;
    let terminal = Terminal::open(100, 30, &["NO_COLOR=1"])?;
    terminal.runs(&top(&[&url(&collector), "--filter=shop-api", "--sort=throttled"]))?;
    terminal.sees("a mark instead of a colour", |screen| line(screen, "shop-api-1").contains('!'))?;
    let plain = terminal.coloured()?;
    let is_colour = |code: &str| code.split(';').any(|code| matches!(code.parse(), Ok(30..=38 | 40..=48 | 90..=107)));
    let coloured: Vec<_> = plain.split("\u{1b}[").skip(1).filter_map(|part| part.split_once('m')).collect();
    ensure!(!coloured.iter().any(|(code, _)| is_colour(code)), "there are colours:\n{plain:?}");
    Ok(())
}

fn hostile_names_and_small_screens() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    for name in [
        "hostile-\u{1b}[2J\u{1b}]0;owned\u{7}",
        "hostile-\u{202e}evil",
        "hostile-容器容器容器容器容器容器容器容器",
        "hostile-o\u{301}\u{301}\u{301}\u{301}\u{301}",
    ] {
        cgroups.make(name)?;
    }
    let collector = Collector::start(&["--docker="])?;
    let terminal = Terminal::open(80, 24, &[])?;
    terminal.runs(&top(&[&url(&collector), "--filter=hostile", "--sort=name"]))?;
    let screen = terminal.sees("the names", |screen| screen.matches("hostile-").count() >= 4)?;
    ensure!(screen.contains("hostile-\\u{1b}[2J") && screen.contains("hostile-\\u{202e}evil"), "{screen}");
    ensure!(terminal.fact("pane_title")? != "owned", "a name set the title of the terminal");
    let wide = screen.lines().find(|line| line.contains("容器")).context("the wide name is not there")?;
    ensure!(wide.contains('…') || wide.contains("容器容器容器容器"), "{wide}");
    for (columns, rows) in [(80, 24), (60, 15), (200, 60), (40, 8)] {
        terminal.resize(columns, rows)?;
        let is_whole = |screen: &str| {
            let last = screen.trim_end().lines().last().unwrap_or_default();
            last.starts_with("q quit") && !last.contains('…') && screen.lines().count() <= usize::from(rows)
        };
        terminal.sees(&format!("{columns} by {rows}"), is_whole)?;
    }
    terminal.resize(30, 5)?;
    terminal.sees("too small", |screen| screen.contains("40 columns and 8 lines"))?;
    terminal.resize(80, 24)?;
    terminal.sees("the names again", |screen| screen.matches("hostile-").count() >= 4)?;

    // On a terminal without UTF-8 the bytes of other letters might be control characters.
    let ascii = Terminal::open(80, 24, &["LC_ALL=C"])?;
    ascii.runs(&top(&[&url(&collector), "--filter=hostile"]))?;
    ascii.sees("escapes", |screen| screen.contains("hostile-\\u{5bb9}") && screen.is_ascii())?;
    Ok(())
}

fn gives_the_terminal_back() -> Result<()> {
    let collector = Collector::start(&["--docker="])?;
    let terminal = Terminal::open(80, 24, &[])?;
    let modes = |mark: &str| -> Result<String> {
        terminal.runs(&format!("echo {mark} $(stty -g | cksum)"))?;
        let mark = format!("{mark} ");
        let screen = terminal.sees("modes", |screen| screen.lines().any(|line| line.starts_with(&mark)))?;
        Ok(screen.lines().rfind(|line| line.starts_with(&mark)).unwrap_or_default().replace(&mark, ""))
    };
    let before = modes("before")?;
    let ends: [(&str, &dyn Fn() -> Result<()>); 4] = [
        ("q", &|| terminal.types("q")),
        ("ctrl-c", &|| terminal.press("C-c")),
        ("term", &|| process::signal(terminal.child()?, Signal::TERM)),
        ("hup", &|| process::signal(terminal.child()?, Signal::HUP)),
    ];
    for (name, end) in ends {
        terminal.runs(&top(&[&url(&collector)]))?;
        terminal.sees("the list", |screen| screen.contains("q quit"))?;
        ensure!(
            terminal.fact("alternate_on")? == "1" && terminal.fact("cursor_flag")? == "0",
            "not on a screen of its own"
        );
        end()?;
        terminal.sees("the shell", |screen| screen.trim_end().ends_with(PROMPT) && !screen.contains("q quit"))?;
        ensure!(
            terminal.fact("alternate_on")? == "0" && terminal.fact("cursor_flag")? == "1",
            "{name}: not given back"
        );
        let after = modes(name)?;
        ensure!(after == before, "{name}: the terminal's modes were {before} and are {after}");
    }
    Ok(())
}

fn goes_on_without_an_answer() -> Result<()> {
    let collector = Collector::start(&["--docker="])?;
    let address = collector.address();
    let terminal = Terminal::open(80, 24, &[])?;
    terminal.runs(&top(&[&url(&collector)]))?;
    terminal.sees("live", |screen| screen.contains("live "))?;
    drop(collector);
    terminal.sees("words", |screen| screen.contains("NO ANSWER") && screen.contains("refused"))?;
    let collector = Collector::start(&["--docker=", &format!("--port={}", address.port())])?;
    terminal.sees("live again", |screen| screen.contains("live ") && !screen.contains("NO ANSWER"))?;
    terminal.types("q")?;
    terminal.sees("the shell", |screen| screen.trim_end().ends_with(PROMPT))?;
    // A collector that forgets has no past.
    terminal.runs(&top(&[&url(&collector), "--at=-2h"]))?;
    terminal.sees("no past", |screen| screen.contains("--history_dir") && screen.trim_end().ends_with(PROMPT))?;
    Ok(())
}

fn remote_with_token_and_tls() -> Result<()> {
    let files = Files::new("top")?;
    let (certificate, key, _) = certificate()?;
    let (certificate, key) = (files.put("cert", &certificate)?, files.put("key", &key)?);
    let tokens = files.put("tokens", "right-token\n")?;
    let wrong = files.put("wrong", "wrong-token\n")?;
    let flags = [
        flag("tls_cert_file", &certificate),
        flag("tls_private_key_file", &key),
        flag("bearer_token_file", &tokens),
        "--url_base_prefix=/node/one".to_owned(),
        "--docker=".to_owned(),
    ];
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let collector = Collector::launch(&Rights::default(), &flags)?;
    let at = format!("--url=https://localhost:{}/node/one", collector.address().port());
    let [ca, token, wrong] = [flag("ca_file", &certificate), flag("token_file", &tokens), flag("token_file", &wrong)];
    let terminal = Terminal::open(100, 30, &[])?;
    terminal.runs(&top(&[&at, &ca, &token]))?;
    terminal.sees("live", |screen| screen.contains("live ") && screen.contains("lost events"))?;
    terminal.types("q")?;
    for (flags, words) in [
        (&[at.as_str(), &ca, &wrong, "--once"][..], "--token_file"),
        (&[at.as_str(), &ca, "--once"], "--token_file"),
        (&[at.as_str(), &token, "--once"], "ertificate"),
    ] {
        let output = Command::new(&settings().collector).arg("top").args(flags).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1) && said.contains(words), "{flags:?}: {said}");
    }
    let user = files.put("users", "ann:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n")?;
    let pair = files.put("pair", "ann:secret\n")?;
    let collector =
        Collector::launch(&Rights::default(), &[&flag("http_auth_file", &user), "--auth_api", "--docker="])?;
    let json = once(&[&url(&collector), &flag("password_file", &pair)])?;
    ensure!(json["url"].as_str().is_some_and(|url| url.starts_with("http://127.0.0.1")), "{json}");
    // Where Digest alone is taken, that is what is said.
    let digests = files.put("digests", "ann:localhost:0123456789abcdef0123456789abcdef\n")?;
    let flags = [&flag("http_digest_file", &digests), "--auth_api", "--docker="];
    let collector = Collector::launch(&Rights::default(), &flags)?;
    let asked = [url(&collector), flag("password_file", &pair), "--once".to_owned()];
    let output = Command::new(&settings().collector).arg("top").args(asked).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && said.contains("Digest authentication alone"), "{said}");
    Ok(())
}

/// What is printed once as JSON.
fn once(flags: &[&str]) -> Result<Value> {
    wait::eventually(wait::seconds(10), || {
        let output =
            Command::new(&settings().collector).args(["top", "--once", "--format=json"]).args(flags).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{flags:?}: {said}");
        Ok(serde_json::from_slice(&output.stdout)?)
    })
}

fn without_a_collector() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    cgroups.make("seen-alone")?;
    let terminal = Terminal::open(100, 30, &[])?;
    // Nobody listens on this port.
    let flags = ["--port=1", "--docker=", "--podman=", "--containerd=", "--crio="];
    terminal.runs(&top(&[&flags[..], &["--filter=seen-alone"]].concat()))?;
    terminal.sees("cgroups", |screen| {
        screen.contains("no collector answers") && screen.contains("seen-alone") && screen.contains("live ")
    })?;
    terminal.types("/x")?;
    terminal.sees("nothing", |screen| screen.contains("Nothing fits"))?;
    terminal.press("Escape")?;
    terminal.types("q")?;
    terminal.sees("the shell", |screen| screen.trim_end().ends_with(PROMPT))?;
    let json = once(&flags)?;
    ensure!(json.get("url").is_none() && json["node"]["cpu_cores"].is_number(), "{}", json["node"]);
    let all = json["containers"].as_array().context("no list")?;
    ensure!(all.iter().any(|one| one["title"] == "seen-alone"), "{all:?}");
    Ok(())
}

fn once_for_scripts() -> Result<()> {
    let cgroups = Cgroups::new(Set::Every)?;
    cgroups.make("seen-once")?;
    let collector = Collector::start(&["--docker="])?;
    let json = once(&[&url(&collector), "--filter=seen-once"])?;
    let all = json["containers"].as_array().context("no list")?;
    ensure!(all.len() == 1 && all[0]["title"] == "seen-once" && all[0]["oom_kills"] == 0, "{all:?}");
    let output =
        Command::new(&settings().collector).args(["top", "--once", &url(&collector)]).env("LC_ALL", "C").output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success() && text.is_ascii() && text.contains("seen-once"), "{text}");
    ensure!(text.lines().any(|line| line.starts_with("NAME ") && line.ends_with(" OOM")), "{text}");
    // Neither a terminal nor --once.
    let output = Command::new(&settings().collector).args(["top", &url(&collector)]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && said.contains("--once"), "{said}");
    Ok(())
}

/// The list as it was, of now, and of a time before there was any history.
fn walks_through_the_past() -> Result<()> {
    let files = Files::new("top-at")?;
    let cgroups = Cgroups::new(Set::Every)?;
    let gone = cgroups.make("walk-gone")?;
    let history = flag("history_dir", &files.path().join("history"));
    let collector = Collector::start(&[&history, "--history_step=1s", "--housekeeping_interval=200ms", "--docker="])?;
    wait::pass(wait::seconds(4));
    let then = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    wait::pass(wait::seconds(1));
    gone.remove()?;
    cgroups.make("walk-new")?;
    let terminal = Terminal::open(120, 30, &[])?;
    terminal.runs(&top(&[&url(&collector), &format!("--at={then}"), "--filter=walk-", "--sort=name"]))?;
    terminal.sees("the list of then", |screen| {
        screen.contains("as of ") && screen.contains("walk-gone") && !screen.contains("walk-new")
    })?;
    wait::eventually(wait::seconds(10), || {
        terminal.types(">")?;
        let screen = terminal.screen()?;
        ensure!(screen.contains("as of ") && screen.contains("walk-new"), "the list of now:\n{screen}");
        Ok(())
    })?;
    terminal.types("<")?;
    terminal.sees("a time without history", |screen| !screen.contains("walk-new") && !screen.contains("walk-gone"))?;
    terminal.types(">")?;
    terminal.sees("the list of now again", |screen| screen.contains("walk-new"))?;
    terminal.types("q")?;
    terminal.sees("the shell", |screen| screen.trim_end().ends_with(PROMPT)).map(drop)
}
