//! The commands in Envoy's format strings
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/advanced/substitution_formatter>).

use super::credentials::{is_credential, is_credential_parameter};

/// The headers that hold the path of a request, with its query.
const PATHS: [&str; 3] = [":path", "x-envoy-original-path", "x-envoy-original-url"];

/// A command: `%NAME%`, `%NAME(ARGUMENTS)%` or `%NAME(ARGUMENTS):LENGTH%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Command<'t> {
    /// All of it.
    pub(crate) text: &'t str,
    name: &'t str,
    arguments: &'t str,
}

/// The commands of a format.
pub(crate) fn commands(format: &str) -> Vec<Command<'_>> {
    let mut commands = Vec::new();
    let mut rest = format;
    while let Some((_, after)) = rest.split_once('%') {
        match command(after) {
            Some((name, arguments, length)) => {
                let start = rest.len() - after.len() - 1;
                let text = rest.get(start..start + length + 1).unwrap_or_default();
                commands.push(Command { text, name, arguments });
                rest = after.get(length..).unwrap_or_default();
            }
            // A percent sign that stands for itself is written twice.
            None => rest = after.strip_prefix('%').unwrap_or(after),
        }
    }
    commands
}

/// The command that begins behind a percent sign: its name, its arguments, its length.
fn command(text: &str) -> Option<(&str, &str, usize)> {
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let end = text.find(|c| !is_name(c)).filter(|end| *end > 0)?;
    let (name, rest) = text.split_at_checked(end)?;
    let Some(inside) = rest.strip_prefix('(') else {
        return Some((name, "", end + tail(rest)?));
    };
    let closing = inside.match_indices(')').map(|(index, _)| index);
    closing.into_iter().find_map(|index| {
        let (arguments, rest) = inside.split_at_checked(index)?;
        Some((name, arguments, end + 2 + index + tail(rest.strip_prefix(')')?)?))
    })
}

/// The length of what ends a command: `%` or `:LENGTH%`.
fn tail(text: &str) -> Option<usize> {
    let digits = match text.strip_prefix(':') {
        Some(digits) => digits.bytes().take_while(u8::is_ascii_digit).count() + 1,
        None => 0,
    };
    text.get(digits..)?.starts_with('%').then_some(digits + 1)
}

impl<'t> Command<'t> {
    /// The header or query parameter that it prints and that may hold a credential.
    pub(crate) fn credential(self) -> Option<String> {
        match self.name {
            "REQ" | "REQ_WITHOUT_QUERY" | "REQUEST_HEADER" => {
                let header = self.headers().find(|header| is_credential(header))?;
                Some(format!("header {}", header.to_ascii_lowercase()))
            }
            "QUERY_PARAM" if is_credential_parameter(self.arguments) => {
                Some(format!("query parameter {}", self.arguments))
            }
            "CEL" if self.arguments.contains("request.headers") => {
                let mut quoted = self.arguments.split(['\'', '"']).skip(1).step_by(2);
                let header = quoted.find(|header| is_credential(header))?;
                Some(format!("header {}", header.to_ascii_lowercase()))
            }
            _ => None,
        }
    }

    /// Whether it prints the query of the request.
    pub(crate) fn prints_query(self) -> bool {
        match self.name {
            "REQ" | "REQUEST_HEADER" => {
                self.headers().any(|header| PATHS.iter().any(|p| header.eq_ignore_ascii_case(p)))
            }
            "PATH" => self.arguments.split(':').next() != Some("NQ"),
            "QUERY_PARAMS" => true,
            _ => false,
        }
    }

    /// A header, and another to print if the first is absent.
    fn headers(self) -> impl Iterator<Item = &'t str> {
        self.arguments.split('?').map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_with_their_arguments() {
        let found = |format| -> Vec<_> {
            commands(format).iter().map(|c| (c.text, c.name, c.arguments)).collect()
        };
        assert_eq!(
            found("a %PROTOCOL% %%REQ(A)%% \"%REQ(X?Y):10%\"%PATH(NQ:ORIG)%\n"),
            [
                ("%PROTOCOL%", "PROTOCOL", ""),
                ("%REQ(X?Y):10%", "REQ", "X?Y"),
                ("%PATH(NQ:ORIG)%", "PATH", "NQ:ORIG"),
            ]
        );
        assert_eq!(
            found("%CEL(string(request.headers['a']))%"),
            [("%CEL(string(request.headers['a']))%", "CEL", "string(request.headers['a'])")]
        );
        assert_eq!(found("100 % of %req(a)% %REQ(a) %REQ(a):x% % %"), []);
        assert_eq!(found("é%ü%REQ(ä)%ö%"), [("%REQ(ä)%", "REQ", "ä")]);
    }

    #[test]
    fn credentials_are_known_however_they_are_printed() {
        let credential = |format| commands(format).into_iter().find_map(Command::credential);
        for (format, what) in [
            ("%REQ(AUTHORIZATION)%", Some("header authorization")),
            ("%REQ(x-request-id?X-Api-Key):10%", Some("header x-api-key")),
            ("%REQ(X-AIGW-ANYTHING)%", Some("header x-aigw-anything")),
            ("%REQ(SEC-WEBSOCKET-PROTOCOL)%", Some("header sec-websocket-protocol")),
            ("%REQ_WITHOUT_QUERY(COOKIE)%", Some("header cookie")),
            ("%CEL(request.headers[\"api-key\"])%", Some("header api-key")),
            ("%QUERY_PARAM(access_token)%", Some("query parameter access_token")),
            ("%REQ(USER-AGENT)% %QUERY_PARAM(alt)% %RESP(AUTHORIZATION)%", None),
            ("%CEL(request.headers['user-agent'])% %CEL(response.code == 'cookie')%", None),
            ("%REQ(:AUTHORITY)% %REQ(OPENAI-ORGANIZATION)%", None),
        ] {
            assert_eq!(credential(format).as_deref(), what, "{format}");
        }
    }

    #[test]
    fn the_query_is_known_however_it_is_printed() {
        let prints = |format| commands(format).into_iter().any(Command::prints_query);
        for format in [
            "%REQ(:PATH)%",
            "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH):20%",
            "%PATH%",
            "%PATH(WQ)%",
            "%PATH(WQ:ORIG)%",
            "%PATH(:PATH)%",
            "%QUERY_PARAMS(DECODED)%",
        ] {
            assert!(prints(format), "{format}");
        }
        for format in ["%PATH(NQ)%", "%PATH(NQ:ORIG)%", "%REQ_WITHOUT_QUERY(:PATH)%", "path"] {
            assert!(!prints(format), "{format}");
        }
    }
}
