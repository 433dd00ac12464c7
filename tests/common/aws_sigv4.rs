//! What the signer of AWS's own SDK for Rust makes of a request, with the settings of Bedrock.

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SessionTokenMode, SignableBody, SignableRequest,
    SignatureLocation, SigningSettings, UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4::SigningParams;
use std::time::{Duration, SystemTime};

/// A request, and whatever else a signature depends on.
#[derive(Clone, Debug)]
pub(crate) struct Theirs<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(String, String)],
    pub(crate) body: &'a [u8],
    pub(crate) access_key_id: &'a str,
    pub(crate) secret_access_key: &'a str,
    pub(crate) session_token: Option<&'a str>,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
    /// Since the Unix epoch.
    pub(crate) now: Duration,
}

impl Theirs<'_> {
    /// The headers that it adds, `authorization` and `x-amz-date` among them.
    pub(crate) fn signed(&self) -> Vec<(String, String)> {
        let mut settings = SigningSettings::default();
        settings.percent_encoding_mode = PercentEncodingMode::Double;
        settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
        settings.signature_location = SignatureLocation::Headers;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Enabled;
        settings.session_token_mode = SessionTokenMode::Include;
        // Which headers are signed is not the signer's choice here.
        settings.excluded_headers = None;
        let token = self.session_token.map(str::to_owned);
        let keys =
            Credentials::new(self.access_key_id, self.secret_access_key, token, None, "tests");
        let identity = keys.into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(SystemTime::UNIX_EPOCH + self.now)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let body = SignableBody::Bytes(self.body);
        let request = SignableRequest::new(self.method, self.url, headers, body).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let added = instructions.headers();
        added.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The value of a header that it adds.
    pub(crate) fn header(&self, name: &str) -> String {
        self.signed().into_iter().find(|(n, _)| n == name).unwrap().1
    }
}
