//! Limits how often a client may be wrong. What is kept is bounded, and forgotten once it no longer counts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::client::Client;

/// Different wrong answers in a row that a client may give.
const BURST: f64 = 30.0;
/// After them one is allowed again in so long.
const REFILL: Duration = Duration::from_secs(2);
/// Clients whose failures are remembered at most: about a megabyte.
const MOST_CLIENTS: usize = 4096;
/// So many of a client's newest wrong answers are known again: a program that repeats one is not guessing.
const REPEATED: usize = 8;

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has failed as often as this lately, 0 for one that has not.
    Good(u32),
    /// It has failed too often; it may try again in so long.
    Exhausted(Duration),
}

#[derive(Debug)]
struct Bucket {
    /// Failures that are left at the time of the last one.
    left: f64,
    /// On the clock of the attempts.
    at: Duration,
    /// Hashes of the newest wrong answers.
    recent: Vec<[u8; 32]>,
}

impl Bucket {
    fn left(&self, now: Duration) -> f64 {
        let refilled = now.saturating_sub(self.at).as_secs_f64() / REFILL.as_secs_f64();
        (self.left + refilled).min(BURST)
    }
}

/// How often which client was wrong.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<Client, Bucket>>);

impl Failures {
    /// Where a client stands; the time is on any clock that does not go back.
    pub fn standing(&self, client: Client, now: Duration) -> Standing {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = buckets.get(&client) else { return Standing::Good(0) };
        let left = bucket.left(now);
        if left < 1.0 {
            return Standing::Exhausted(REFILL.mul_f64(1.0 - left));
        }
        Standing::Good((BURST - left).ceil() as u32)
    }

    /// Notes that a client was wrong with what has this hash.
    pub fn failed(&self, client: Client, presented: [u8; 32], now: Duration) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_CLIENTS && !buckets.contains_key(&client) {
            buckets.retain(|_, bucket| bucket.left(now) < BURST);
            // All of them count still: the one that was wrong least goes.
            if buckets.len() >= MOST_CLIENTS {
                let least = buckets.iter().max_by(|one, other| one.1.left(now).total_cmp(&other.1.left(now)));
                if let Some(least) = least.map(|(client, _)| *client) {
                    buckets.remove(&least);
                }
            }
        }
        let bucket = buckets.entry(client).or_insert_with(|| Bucket { left: BURST, at: now, recent: Vec::new() });
        if bucket.recent.contains(&presented) {
            return;
        }
        if bucket.recent.len() >= REPEATED {
            bucket.recent.remove(0);
        }
        bucket.recent.push(presented);
        bucket.left = (bucket.left(now) - 1.0).max(0.0);
        bucket.at = now;
    }

    #[cfg(test)]
    fn clients(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn client(number: u32) -> Client {
        Client::at(Ipv4Addr::from_bits(number).into())
    }

    fn guess(number: u32) -> [u8; 32] {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        hash
    }

    #[test]
    fn guessing_is_slow_for_one_client_alone() {
        let failures = Failures::default();
        assert_eq!(failures.standing(client(1), NOW), Standing::Good(0));
        for number in 0..30 {
            assert_eq!(failures.standing(client(1), NOW), Standing::Good(number));
            failures.failed(client(1), guess(number), NOW);
        }
        assert_eq!(failures.standing(client(1), NOW), Standing::Exhausted(REFILL));
        assert_eq!(failures.standing(client(2), NOW), Standing::Good(0));
        let later = NOW + REFILL;
        assert_eq!(failures.standing(client(1), later), Standing::Good(29));
        failures.failed(client(1), guess(99), later);
        assert_eq!(failures.standing(client(1), later), Standing::Exhausted(REFILL));
        assert_eq!(failures.standing(client(1), later + REFILL * 40), Standing::Good(0));
    }

    #[test]
    fn repeating_one_wrong_password_is_not_guessing() {
        let failures = Failures::default();
        for _ in 0..1000 {
            failures.failed(client(1), guess(7), NOW);
        }
        assert_eq!(failures.standing(client(1), NOW), Standing::Good(1));
    }

    #[test]
    fn the_table_has_an_end_and_the_worst_stay_in_it() {
        let failures = Failures::default();
        for number in 0..40 {
            failures.failed(client(0), guess(number), NOW);
        }
        for number in 1..10_000 {
            failures.failed(client(number), guess(number), NOW);
        }
        assert_eq!(failures.clients(), MOST_CLIENTS);
        assert!(matches!(failures.standing(client(0), NOW), Standing::Exhausted(_)));
        let later = NOW + REFILL * 100;
        failures.failed(client(1 << 20), guess(0), later);
        assert_eq!(failures.clients(), 1, "what no longer counts is forgotten");
    }
}
