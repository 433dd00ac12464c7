//! What tells two credentials apart: a digest over everything that makes them different.

use crate::policy::{Endpoint, Scheme};
use sha2::{Digest, Sha256};

/// A digest of texts and lists of texts, each with its length, so that no two differ by where one ends.
#[derive(Clone, Debug, Default)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// Adds a text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.number(text.len());
        self.0.update(text);
        self
    }

    /// Adds a list of texts.
    pub fn list<'t>(&mut self, texts: impl ExactSizeIterator<Item = &'t str>) -> &mut Self {
        self.number(texts.len());
        for text in texts {
            self.text(text);
        }
        self
    }

    /// Adds a place to call.
    pub fn endpoint(&mut self, endpoint: &Endpoint) -> &mut Self {
        self.text(match endpoint.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        });
        self.text(&endpoint.authority).text(&endpoint.path)
    }

    /// The digest, in hexadecimal digits.
    pub fn finish(self) -> String {
        let mut text = String::new();
        for byte in self.0.finalize() {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(u32::from(digit), 16));
            }
        }
        text
    }

    fn number(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(add: impl Fn(&mut Fingerprint)) -> String {
        let mut print = Fingerprint::default();
        add(&mut print);
        print.finish()
    }

    #[test]
    fn texts_do_not_run_into_each_other() {
        let prints = [
            print(|p| _ = p.text("ab").text("c")),
            print(|p| _ = p.text("a").text("bc")),
            print(|p| _ = p.list(["ab", "c"].into_iter())),
            print(|p| _ = p.list(["ab"].into_iter()).text("c")),
            print(|p| _ = p.list(["ab"].into_iter()).list(["c"].into_iter())),
        ];
        for (index, one) in prints.iter().enumerate() {
            assert_eq!(one.len(), 64);
            assert!(!prints.iter().skip(index + 1).any(|other| other == one), "{index}");
        }
    }
}
