//! AWS Signature Version 4 in headers
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>).

use super::canonical;
use crate::credential::{AwsKeys, Secret};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::time::Duration;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The header with the time of a signature.
pub const DATE: &str = "x-amz-date";
/// The header with the token of temporary keys.
pub const SECURITY_TOKEN: &str = "x-amz-security-token";
/// How many derived keys one signer keeps: one for each region that its hosts name.
const MOST_DERIVED: usize = 8;

/// A SHA-256 hash.
pub type Hash = [u8; 32];
/// The hash of no bytes at all (FIPS 180-4).
pub const EMPTY_BODY: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];
type HmacSha256 = Hmac<Sha256>;

/// What is signed of a request.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a [u8],
    /// Path and query, byte for byte as they go on the wire.
    pub path: &'a [u8],
    /// The host as it goes on the wire, with the port if it is not a default one.
    pub host: &'a str,
    /// Further headers to sign, names in lower case; the date and the token are added.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The hash of the body.
    pub body: &'a Hash,
}

/// What a signature is valid for, beside its day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The region, such as `us-east-1`.
    pub region: &'a str,
    /// The signing name of the service, such as `bedrock`.
    pub service: &'a str,
}

/// The headers that make a request a signed one; the token of the keys goes with them.
pub struct Signed {
    /// `authorization`.
    pub authorization: Secret,
    /// [`DATE`].
    pub date: String,
}

/// A time in the form of ISO 8601 that signatures have: `20150830T123600Z`. `now` is the time since the
/// Unix epoch.
pub fn date_time(now: Duration) -> String {
    let seconds = now.as_secs();
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    // Days to a date of the Gregorian calendar: years begin in March, so the leap day is the last, and
    // eras of 400 years have 146,097 days.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    let year = year_of_era + era * 400 + next_year;
    let mut text = String::with_capacity(16);
    push_digits(&mut text, year, 1_000);
    push_digits(&mut text, month, 10);
    push_digits(&mut text, day, 10);
    text.push('T');
    for part in [hour, minute, second] {
        push_digits(&mut text, part, 10);
    }
    text.push('Z');
    text
}

/// Appends the decimal digits of a number, the first being that of `unit`.
fn push_digits(text: &mut String, number: u64, unit: u64) {
    let mut unit = unit;
    while unit > 0 {
        let digit = u32::try_from(number / unit % 10).unwrap_or_default();
        text.extend(char::from_digit(digit, 10));
        unit /= 10;
    }
}

/// Signs requests, and keeps what it derives from the keys.
#[derive(Default)]
pub struct Signer {
    derived: RefCell<Vec<Derived>>,
}

/// A key for one day, region and service.
struct Derived {
    secret: Secret,
    day: String,
    region: String,
    service: String,
    key: HmacSha256,
}

impl Signer {
    /// Signs a request at `now`, the time since the Unix epoch. `None` cannot happen: HMAC takes keys
    /// of every length.
    pub fn sign(
        &self,
        request: &Request<'_>,
        scope: Scope<'_>,
        keys: &AwsKeys,
        now: Duration,
    ) -> Option<Signed> {
        let date = date_time(now);
        let (canonical, signed_headers) = canonical_request(request, keys, &date);
        let text = string_to_sign(&canonical, scope, &date);
        let mut mac = self.key(keys, day(&date), scope)?;
        mac.update(text.as_bytes());
        let mut authorization = format!(
            "{ALGORITHM} Credential={}/{}, SignedHeaders={signed_headers}, Signature=",
            keys.access_key_id().expose(),
            scope_text(scope, &date),
        );
        push_hex(&mut authorization, &mac.finalize().into_bytes().into());
        Some(Signed { authorization: Secret::line(&authorization).ok()?, date })
    }

    /// The signing key, ready to be used.
    fn key(&self, keys: &AwsKeys, day: &str, scope: Scope<'_>) -> Option<HmacSha256> {
        let secret = keys.secret_access_key();
        let mut derived = self.derived.borrow_mut();
        if let Some(found) = derived.iter().find(|d| {
            d.region == scope.region
                && d.day == day
                && d.service == scope.service
                && d.secret == *secret
        }) {
            return Some(found.key.clone());
        }
        let mut key =
            HmacSha256::new_from_slice(secret.prefixed("AWS4").expose().as_bytes()).ok()?;
        for part in [day, scope.region, scope.service, "aws4_request"] {
            key.update(part.as_bytes());
            key = HmacSha256::new_from_slice(&key.finalize().into_bytes()).ok()?;
        }
        if derived.len() >= MOST_DERIVED {
            derived.remove(0);
        }
        derived.push(Derived {
            secret: secret.clone(),
            day: day.to_owned(),
            region: scope.region.to_owned(),
            service: scope.service.to_owned(),
            key: key.clone(),
        });
        Some(key)
    }
}

/// The canonical request, and the names of the headers in it as `SignedHeaders` has them.
pub fn canonical_request(request: &Request<'_>, keys: &AwsKeys, date: &str) -> (Vec<u8>, String) {
    let own = [("host", request.host.as_bytes()), (DATE, date.as_bytes())];
    let token = keys.session_token().map(|token| (SECURITY_TOKEN, token.expose().as_bytes()));
    let further = request.headers.iter().copied().filter(|(name, _)| !is_own(name));
    canonical::request(request, own.into_iter().chain(token).chain(further))
}

/// Whether a header is one that the signature brings itself.
fn is_own(name: &str) -> bool {
    matches!(name, "host" | DATE | SECURITY_TOKEN)
}

/// What the derived key signs.
pub fn string_to_sign(canonical_request: &[u8], scope: Scope<'_>, date: &str) -> String {
    let mut text = format!("{ALGORITHM}\n{date}\n{}\n", scope_text(scope, date));
    push_hex(&mut text, &Sha256::digest(canonical_request).into());
    text
}

fn scope_text(scope: Scope<'_>, date: &str) -> String {
    format!("{}/{}/{}/aws4_request", day(date), scope.region, scope.service)
}

/// The day of a time.
fn day(date: &str) -> &str {
    date.split('T').next().unwrap_or(date)
}

/// Appends a hash as lower-case hexadecimal digits.
pub(crate) fn push_hex(text: &mut String, hash: &Hash) {
    let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' - 10 + half };
    let mut digits = [0; 64];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
        if let [high, low] = pair {
            (*high, *low) = (digit(byte >> 4), digit(byte & 15));
        }
    }
    // They are ASCII.
    text.push_str(core::str::from_utf8(&digits).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(signer: &Signer, scope: Scope<'_>, secret: &str, now: u64) -> String {
        let request =
            Request { method: b"GET", path: b"/", host: "h", headers: &[], body: &[0; 32] };
        let keys = AwsKeys::new("AKID", secret, None).unwrap();
        let signed = signer.sign(&request, scope, &keys, Duration::from_secs(now)).unwrap();
        signed.authorization.expose().to_owned()
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_440_938_160, "20150830T123600Z"),
            (1_709_251_199, "20240229T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(date_time(Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn a_derived_key_serves_its_own_day_region_service_and_secret_only() {
        let scope = Scope { region: "us-east-1", service: "bedrock" };
        let cached = Signer::default();
        // More than fit, each twice: what comes from the cache equals what is derived anew.
        for _ in 0..2 {
            for day in 0..MOST_DERIVED as u64 {
                for scope in [
                    scope,
                    Scope { region: "eu-west-1", ..scope },
                    Scope { service: "sts", ..scope },
                ] {
                    for secret in ["one", "two"] {
                        let now = day * 86_400;
                        assert_eq!(
                            signature(&cached, scope, secret, now),
                            signature(&Signer::default(), scope, secret, now)
                        );
                    }
                }
            }
        }
        assert!(cached.derived.borrow().len() <= MOST_DERIVED);
    }
}
