//! A text that cannot be printed.

use std::fmt;

/// A key, token or password. It has no `Display`, cannot be serialised, and its `Debug` says
/// `[redacted]`; whoever needs the text has to ask for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Why a text cannot be a secret; the text itself is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretError {
    /// Nothing is left once surrounding white space is gone.
    Empty,
    /// It holds a control character, so it would end the header that it is written to.
    ControlCharacter,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "must not be empty",
            Self::ControlCharacter => {
                "must not contain CR, LF, NUL or another control character inside"
            }
        })
    }
}

impl Secret {
    /// A secret that goes into a header or a form: trimmed once, one line, not empty.
    ///
    /// # Errors
    ///
    /// If nothing is left after trimming, or a control character other than a tab is inside.
    pub fn line(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SecretError::Empty);
        }
        if text.chars().any(|c| c.is_control() && c != '\t') {
            return Err(SecretError::ControlCharacter);
        }
        Ok(Self(text.to_owned()))
    }

    /// A secret that is a document of its own (a credentials file, a JSON key): its values are
    /// checked when they are taken out of it.
    ///
    /// # Errors
    ///
    /// If it holds nothing but white space.
    pub fn document(text: &str) -> Result<Self, SecretError> {
        if text.trim().is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(Self(text.to_owned()))
    }

    /// The same secret behind a word that is none.
    pub fn prefixed(&self, prefix: &str) -> Self {
        Self(format!("{prefix}{}", self.0))
    }

    /// The text. Only for writing it where it belongs: never for a message.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_show_its_text_when_printed() {
        let secret = Secret::line("sk-marker").unwrap();
        assert_eq!(format!("{secret:?} {secret:#?}"), "[redacted] [redacted]");
        assert_eq!(format!("{:?}", secret.prefixed("Bearer ")), "[redacted]");
    }

    #[test]
    fn white_space_around_a_key_is_trimmed_once() {
        assert_eq!(Secret::line(" \t sk-1 2\r\n\n").unwrap().expose(), "sk-1 2");
    }

    #[test]
    fn a_key_that_would_end_its_header_is_refused() {
        for text in ["a\rb", "a\nb", "a\0b", "a\u{7f}b", "a\u{85}b"] {
            assert_eq!(Secret::line(text), Err(SecretError::ControlCharacter), "{text:?}");
        }
        for text in ["", " \n\t "] {
            assert_eq!(Secret::line(text), Err(SecretError::Empty), "{text:?}");
            assert_eq!(Secret::document(text), Err(SecretError::Empty), "{text:?}");
        }
    }

    #[test]
    fn a_document_keeps_its_lines() {
        assert_eq!(Secret::document("[default]\na = b\n").unwrap().expose(), "[default]\na = b\n");
    }
}
