//! `collector top`: the containers that use the most, or hurt, on a terminal as they change, or printed once.
//!
//! It is a client of the HTTP API and shows what that answers, like the page: `wire` reads it, `world` keeps what is
//! known, `arrange` and `columns` decide what is listed, `draw`, `once` and `json` show it. Where no collector answers, `source` starts one
//! within this process, which answers the same requests without a port. `follow` asks on a task of its own, so that
//! the screen waits for nobody.

mod app;
mod arrange;
mod columns;
mod draw;
mod figures;
mod follow;
mod json;
mod look;
mod names;
mod once;
mod screen;
mod source;
mod text;
mod wire;
mod world;

use std::io::{IsTerminal as _, Write as _, stdout};
use std::time::Duration;

use jiff::Timestamp;
use ratatui::crossterm::event::{self, Event as TerminalEvent};
use ratatui::crossterm::terminal;
use rustix::thread::CapabilitySet;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::app::{App, KeyRequest};
use self::arrange::arrange;
use self::draw::draw;
use self::follow::{FeedFollower, FeedNews};
use self::look::Look;
use self::screen::Screen;
use self::source::{AnswerSource, SourceError};
use crate::config::{ReportFormat, TopMode, TopRequest};
use crate::kernel::capabilities;

/// How long printing once waits for two samples, of which rates are made.
const RATES: Duration = Duration::from_secs(5);
/// Exit codes.
const DONE: u8 = 0;
const NOTHING_TO_SHOW: u8 = 1;
/// And the number of the signal, as shells have it.
const BY_SIGNAL: i32 = 128;

/// Shows what was asked for until the user has seen enough; the exit code.
pub fn run(request: &TopRequest) -> u8 {
    if request.mode == TopMode::Screen && !stdout().is_terminal() {
        return failed(&"standard output is no terminal; --once prints what there is once");
    }
    // As the daemon does, before there is a second thread: cgroups may have to be read here.
    let _ = capabilities::settle(CapabilitySet::empty());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format_args!("cannot start: {error}")),
    };
    let code = runtime.block_on(show(request));
    // The thread that reads keys waits for one.
    runtime.shutdown_background();
    code
}

fn failed(why: &dyn std::fmt::Display) -> u8 {
    eprintln!("error: {}", crate::bounds::ForTerminal(&why.to_string()));
    NOTHING_TO_SHOW
}

async fn show(request: &TopRequest) -> u8 {
    let source = match AnswerSource::find(request).await {
        Ok(source) => source,
        Err(error) => return failed(&error),
    };
    let mut app = App::new(Look::of_environment(), request.sort, request.filter.clone());
    app.source = source.name();
    app.at = request.at.and_then(|at| Timestamp::from_nanosecond(at.0.into()).ok());
    if let AnswerSource::Within(_, reason) = &source {
        app.within = Some(reason.clone());
    }
    let mut follower = FeedFollower::new(source.clone());
    let first = first(&mut follower, &mut app, request).await;
    match (request.mode, first) {
        (TopMode::Once(format), Ok(())) => {
            print(&app, format);
            DONE
        }
        // A collector that is started again will answer; one that asks for a token will not.
        (TopMode::Screen, Err(error)) if error.may_pass() => {
            app.take(FeedNews::Trouble(error.to_string()));
            on_screen(app, follower).await
        }
        (TopMode::Screen, Ok(())) => on_screen(app, follower).await,
        (_, Err(error)) => failed(&error),
    }
}

/// The first answer; where it is the only one, one with rates.
async fn first(follower: &mut FeedFollower, app: &mut App, request: &TopRequest) -> Result<(), SourceError> {
    let end = tokio::time::Instant::now() + RATES;
    loop {
        let (tick, events) = follower.tick(app.at).await?;
        app.take(FeedNews::Tick(Box::new(tick), events, app.at));
        let has_rates = app.world.root().is_some_and(|root| root.figures.cpu.is_some());
        let waits = matches!(request.mode, TopMode::Once(_)) && app.at.is_none();
        if has_rates || !waits || tokio::time::Instant::now() >= end {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

fn print(app: &App, format: ReportFormat) {
    let arranged = arrange(&app.world, &app.choice);
    let columns = || stdout().is_terminal().then(|| terminal::size().ok()).flatten().map(|(columns, _)| columns.into());
    let text = match format {
        ReportFormat::Text => once::render(app, &arranged, columns()),
        ReportFormat::Json => json::render(app, &arranged),
    };
    // Whoever reads may have read enough.
    let _ = stdout().write_all(text.as_bytes());
}

async fn on_screen(mut app: App, follower: FeedFollower) -> u8 {
    let mut screen = match Screen::enter() {
        Ok(screen) => screen,
        Err(error) => return failed(&format_args!("the terminal cannot be used: {error}")),
    };
    let ended = follow(&mut app, follower, &mut screen).await;
    drop(screen);
    match ended {
        Ok(code) => code,
        Err(error) => failed(&error),
    }
}

/// Until the user or a signal ends it.
async fn follow(app: &mut App, follower: FeedFollower, screen: &mut Screen) -> std::io::Result<u8> {
    let [mut terminate, mut interrupt, mut hang_up, mut quit] =
        [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()].map(signal);
    let by = |kind: SignalKind| Ok(u8::try_from(BY_SIGNAL + kind.as_raw_value()).unwrap_or(NOTHING_TO_SHOW));
    let (terminate, interrupt, hang_up, quit) =
        (terminate.as_mut(), interrupt.as_mut(), hang_up.as_mut(), quit.as_mut());
    let (Ok(terminate), Ok(interrupt), Ok(hang_up), Ok(quit)) = (terminate, interrupt, hang_up, quit) else {
        return Err(std::io::Error::other("signals cannot be received"));
    };
    let mut keys = keys()?;
    let (want, wanted) = watch::channel(app.wanted());
    let (sender, mut news) = mpsc::channel(4);
    tokio::spawn(follower.run(wanted, sender));
    loop {
        screen.terminal.draw(|frame| draw(frame, app))?;
        tokio::select! {
            Some(event) = keys.recv() => {
                let asked = match event? {
                    TerminalEvent::Key(key) => app.press(key),
                    _ => KeyRequest::Nothing,
                };
                match asked {
                    KeyRequest::Nothing => {}
                    KeyRequest::Quit => return Ok(DONE),
                    KeyRequest::Suspend => screen.suspend()?,
                }
                want.send_if_modified(|wanted| {
                    let now = app.wanted();
                    let changed = *wanted != now;
                    *wanted = now;
                    changed
                });
            }
            received = news.recv() => match received {
                Some(news) => app.take(news),
                None => return Err(std::io::Error::other("asking has ended; see the error above")),
            },
            _ = terminate.recv() => return by(SignalKind::terminate()),
            _ = interrupt.recv() => return by(SignalKind::interrupt()),
            _ = hang_up.recv() => return by(SignalKind::hangup()),
            _ = quit.recv() => return by(SignalKind::quit()),
        }
    }
}

/// Keys and changes of size, read on a thread of its own.
fn keys() -> std::io::Result<mpsc::UnboundedReceiver<std::io::Result<TerminalEvent>>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::Builder::new().name("keys".to_owned()).spawn(move || {
        loop {
            let event = event::read();
            let ended = event.is_err();
            if sender.send(event).is_err() || ended {
                return;
            }
        }
    })?;
    Ok(receiver)
}
