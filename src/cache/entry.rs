//! What is shared about one credential.

use super::codec::{Reader, Writer};
use super::schedule::Now;
use crate::credential::{AwsKeys, Secret};
use crate::source::Material;
use std::time::Duration;

/// The format of entries: one of another format is a miss.
pub(crate) const FORMAT: u8 = 2;

/// What is shared about one credential. Times are those of the steady clock of the process, unless they say
/// otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The credential, if there is one.
    pub held: Option<Held>,
    /// Who is obtaining it.
    pub lease: Option<Lease>,
    /// What has failed since it was obtained last.
    pub trouble: Option<Trouble>,
    /// When it was last renewed early, because a provider refused it.
    pub renewed_early: Option<Duration>,
    /// What the log was last told.
    pub said: Option<Said>,
    /// A digest of which of several sources the log was told it comes from.
    pub source: Option<u64>,
}

/// A credential, and its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// What goes on requests.
    pub material: Material,
    /// From when on it is to be renewed.
    pub stale_at: Now,
    /// From when on it is not used; `None` if it does not end.
    pub unusable_at: Option<Now>,
}

/// The right to obtain a credential, for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who has it.
    pub owner: u64,
    /// Until when.
    pub until: Duration,
}

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// How many.
    pub count: u32,
    /// When the last one was.
    pub at: Duration,
    /// Which part of the longest delay is waited, of [`u16::MAX`].
    pub jitter: u16,
    /// How long the provider wants to be left alone.
    pub retry_after: Duration,
    /// Whether it heals by a person only.
    pub lasting: bool,
    /// Since when what was asked for is gone.
    pub gone_since: Option<Duration>,
}

/// What the log was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// A digest of it.
    pub digest: u64,
    /// When.
    pub at: Duration,
}

impl Entry {
    /// Whether there is a credential that may be used.
    pub fn usable(&self, now: Now) -> bool {
        self.held.as_ref().is_some_and(|held| held.usable(now))
    }

    /// Whether somebody else than `owner` is obtaining it.
    pub fn leased_to_another(&self, owner: u64, now: Now) -> bool {
        self.lease.is_some_and(|lease| lease.owner != owner && lease.until > now.steady)
    }

    /// Whether `owner` has the lease. It may have run out, as long as nobody else took it.
    pub fn is_owned_by(&self, owner: u64) -> bool {
        self.lease.is_some_and(|lease| lease.owner == owner)
    }

    /// The bytes of the entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(FORMAT);
        writer.option(self.held.as_ref(), |writer, held| {
            match &held.material {
                Material::Line(secret) => writer.byte(0).text(secret.expose()),
                Material::Keys(keys) => {
                    let token = keys.session_token().map(Secret::expose);
                    writer.byte(1).text(keys.access_key_id().expose());
                    writer.text(keys.secret_access_key().expose());
                    // A token is never empty.
                    writer.text(token.unwrap_or_default())
                }
            };
            writer.now(held.stale_at);
            writer.option(held.unusable_at.as_ref(), |writer, end| _ = writer.now(*end));
        });
        writer.option(self.lease.as_ref(), |writer, lease| {
            writer.number(lease.owner).time(lease.until);
        });
        writer.option(self.trouble.as_ref(), |writer, trouble| {
            writer.number(trouble.count.into()).time(trouble.at);
            writer.number(trouble.jitter.into()).time(trouble.retry_after);
            writer.byte(trouble.lasting.into());
            writer.option(trouble.gone_since.as_ref(), |writer, since| _ = writer.time(*since));
        });
        writer.option(self.renewed_early.as_ref(), |writer, at| _ = writer.time(*at));
        writer.option(self.said.as_ref(), |writer, said| {
            writer.number(said.digest).time(said.at);
        });
        writer.option(self.source.as_ref(), |writer, digest| _ = writer.number(*digest));
        writer.finish()
    }

    /// The entry that these are the bytes of. `None` if they are none, or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, FORMAT)?;
        let held = reader.option(|reader| {
            let material = match reader.byte()? {
                0 => Material::Line(Secret::line(reader.text()?).ok()?),
                1 => {
                    let (id, key, token) = (reader.text()?, reader.text()?, reader.text()?);
                    let token = (!token.is_empty()).then_some(token);
                    Material::Keys(AwsKeys::new(id, key, token).ok()?)
                }
                _ => return None,
            };
            let (stale_at, unusable_at) = (reader.now()?, reader.option(Reader::now)?);
            Some(Held { material, stale_at, unusable_at })
        })?;
        let lease = reader
            .option(|reader| Some(Lease { owner: reader.number()?, until: reader.time()? }))?;
        let trouble = reader.option(|reader| {
            Some(Trouble {
                count: reader.number()?.try_into().ok()?,
                at: reader.time()?,
                jitter: reader.number()?.try_into().ok()?,
                retry_after: reader.time()?,
                lasting: reader.byte()? == 1,
                gone_since: reader.option(Reader::time)?,
            })
        })?;
        let renewed_early = reader.option(Reader::time)?;
        let said =
            reader.option(|reader| Some(Said { digest: reader.number()?, at: reader.time()? }))?;
        let source = reader.option(Reader::number)?;
        reader.finish()?;
        Some(Self { held, lease, trouble, renewed_early, said, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn entries() -> Vec<Entry> {
        let line = Material::Line(Secret::line("marker-token").unwrap());
        let keys = |token| Material::Keys(AwsKeys::new("AKID", "marker-secret", token).unwrap());
        let stale_at = Now { steady: at(80), wall: at(1_600_000_000) };
        let held = |material, unusable_at| Some(Held { material, stale_at, unusable_at });
        let end = Some(Now { steady: at(100), wall: at(1_700_000_000) });
        let trouble = Trouble {
            count: u32::MAX,
            at: at(7),
            jitter: u16::MAX,
            retry_after: at(600),
            lasting: true,
            gone_since: Some(at(3)),
        };
        vec![
            Entry::default(),
            Entry { held: held(line.clone(), end), ..Entry::default() },
            Entry { held: held(line, None), renewed_early: Some(at(5)), ..Entry::default() },
            Entry {
                held: held(keys(None), end),
                lease: Some(Lease { owner: u64::MAX, until: at(9) }),
                trouble: Some(trouble),
                ..Entry::default()
            },
            Entry {
                held: held(keys(Some("marker-session")), end),
                trouble: Some(Trouble { gone_since: None, lasting: false, ..trouble }),
                said: Some(Said { digest: 1, at: at(1) }),
                source: Some(u64::MAX),
                ..Entry::default()
            },
        ]
    }

    #[test]
    fn an_entry_survives_the_store() {
        for entry in entries() {
            assert_eq!(Entry::decode(&entry.encode()), Some(entry));
        }
    }

    #[test]
    fn what_is_no_entry_of_this_version_is_a_miss() {
        for entry in entries() {
            let bytes = entry.encode();
            for end in 0..bytes.len() {
                assert_eq!(Entry::decode(&bytes[..end]), None, "{end} of {}", bytes.len());
            }
            let longer = [bytes.as_slice(), b"x"].concat();
            assert_eq!(Entry::decode(&longer), None);
            let mut other = bytes;
            other[0] ^= 0xff;
            assert_eq!(Entry::decode(&other), None);
        }
        // A length that is no length.
        assert_eq!(Entry::decode(&[FORMAT, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255]), None);
        assert_eq!(Entry::decode(&[FORMAT, 2]), None);
    }

    #[test]
    fn an_entry_is_not_printed_with_its_secrets() {
        for entry in entries() {
            let printed = format!("{entry:?}");
            assert!(!printed.contains("marker") && !printed.contains("AKID"), "{printed}");
        }
    }
}
