//! `application/x-www-form-urlencoded`, as a body and as the two halves of a Basic header.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What is not unreserved (RFC 3986 section 2.3). A space is `%20` too: every reader of a form takes
/// it, and some readers of a Basic header do not take `+`.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Fields in the order in which they were added. It may hold secrets, so it cannot be printed.
#[derive(Clone, Default)]
pub(super) struct Form(String);

impl Form {
    /// Adds a field.
    pub(super) fn field(&mut self, name: &str, value: &str) {
        if !self.0.is_empty() {
            self.0.push('&');
        }
        push_encoded(&mut self.0, name);
        self.0.push('=');
        push_encoded(&mut self.0, value);
    }

    /// The same as a query.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The body.
    pub(super) fn into_body(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// Adds a text, encoded.
pub(super) fn push_encoded(to: &mut String, text: &str) {
    to.extend(utf8_percent_encode(text, RESERVED));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_could_end_a_field_is_encoded() {
        let mut form = Form::default();
        form.field("a", "~-._ +/=&%");
        form.field("b c", "é\u{1f600}\t*");
        form.field("d", "");
        let expected = "a=~-._%20%2B%2F%3D%26%25&b%20c=%C3%A9%F0%9F%98%80%09%2A&d=";
        assert_eq!(String::from_utf8(form.into_body()).unwrap(), expected);
    }

    #[test]
    fn a_form_without_fields_is_empty() {
        assert!(Form::default().into_body().is_empty());
    }
}
