//! Any bytes as the path of a request.

use super::contract::{apply, expected_path};
use aigw_auth::credential::{Credential, Secret};
use aigw_auth::inject::{Earlier, Put, Rewritten, inject};
use aigw_auth::policy::ClientCredentials;

/// The parameters with credentials go, everything else stays byte for byte, and the next attempt
/// finds the path of the client again.
pub fn run(path: &[u8]) {
    let credential = Credential::bearer(&Secret::line("ours").unwrap());
    let request = [(":path".to_owned(), path.to_vec())];
    let unknown = |_: &[u8]| false;
    let earlier = Earlier::default();
    let attempt = |headers, earlier, client, credential| {
        inject(headers, earlier, client, &unknown, credential).unwrap()
    };

    let changes =
        attempt(&request, &earlier, ClientCredentials::Strip, Put::Credential(&credential));
    let sent = apply(&request, &changes);
    let expected = expected_path(path);
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], (":path".to_owned(), expected.clone()));
    assert_eq!(expected_path(&expected), expected, "once is enough");
    let rewritten = Rewritten { before: path.to_vec(), after: expected.clone() };
    assert_eq!(changes.path, (expected != path).then_some(rewritten));

    let later =
        Earlier { written: b"authorization".to_vec(), path: changes.path.clone(), authority: None };
    let again = attempt(&sent, &later, ClientCredentials::Strip, Put::Credential(&credential));
    assert_eq!(apply(&sent, &again), sent);
    assert_eq!(again.path, changes.path);
    let without = attempt(&sent, &later, ClientCredentials::Strip, Put::Nothing);
    assert_eq!(apply(&sent, &without), request);

    let kept = attempt(&request, &earlier, ClientCredentials::Keep, Put::Credential(&credential));
    assert_eq!(apply(&request, &kept)[0], request[0]);
    assert_eq!(kept.path, None);
}
