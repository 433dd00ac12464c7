//! Secrets: the objects that hold them, and what answers a reference to one.

use super::backend::DEFAULT_NAMESPACE;
use super::cursor::{Fields, text};
use super::index::Index;
use super::place::Place;
use super::resources::Resource;
use super::rules;
use crate::credential::{Secret, SecretError};
use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

/// The base64 of `data`, as lenient as the API server's (Go's `base64.StdEncoding`).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// A variable of the environment.
pub enum Variable {
    /// It has a value, which may be empty.
    Set(String),
    /// It is not set, or is no text.
    Unset,
    /// The environment is not the one in which the filter will run.
    Unknown,
}

/// Looks up a variable of the environment in which the filter runs.
pub type Environment<'e> = dyn Fn(&str) -> Variable + 'e;

/// A Secret whose value is in the environment.
#[derive(Debug)]
pub struct EnvironmentSecret {
    namespace: String,
    name: String,
    key: String,
    variable: String,
}

/// Where secrets come from that no object in `resources` holds.
#[derive(Debug, Default)]
pub struct SecretSettings {
    env: Vec<EnvironmentSecret>,
    /// From [`value_name`] to a number of `env`.
    env_index: Index,
    mount_path: Option<String>,
}

impl SecretSettings {
    /// The folder under which secrets are mounted.
    pub fn mount_path(&self) -> Option<&str> {
        self.mount_path.as_deref()
    }
}

/// One value of a Secret, and where its text comes from.
#[derive(Debug)]
pub struct SecretSource {
    /// `Secret <namespace>/<name>, key <key>`.
    pub name: String,
    /// Where its text comes from.
    pub origin: SecretOrigin,
}

/// See [`SecretSource`].
#[derive(Debug)]
pub enum SecretOrigin {
    /// It is at hand, from `resources`.
    Resource(Secret),
    /// It is at hand, from this variable of the environment.
    Environment(String, Secret),
    /// It is in a variable of an environment that is not this one.
    Variable(String),
    /// It is in this mounted file.
    File(String),
}

impl SecretSource {
    /// The text, if it is at hand.
    pub fn known(&self) -> Option<&Secret> {
        match &self.origin {
            SecretOrigin::Resource(secret) | SecretOrigin::Environment(_, secret) => Some(secret),
            SecretOrigin::Variable(_) | SecretOrigin::File(_) => None,
        }
    }

    /// The path of the file that it is in, if it is in one.
    pub fn file(&self) -> Option<&str> {
        match &self.origin {
            SecretOrigin::File(path) => Some(path),
            _ => None,
        }
    }
}

/// The form that the value under a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One line, which goes into a header or a form.
    Line,
    /// A document, which is parsed.
    Document,
}

/// A key of a Secret, and what is under it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SecretKey {
    pub(crate) name: &'static str,
    pub(crate) form: Form,
}

impl SecretKey {
    fn check(self, text: &str) -> Result<Secret, SecretError> {
        match self.form {
            Form::Line => Secret::line(text),
            Form::Document => Secret::document(text),
        }
    }
}

/// What a value of a Secret is indexed by. Names hold no NUL.
fn value_name(namespace: &str, name: &str, key: &str) -> String {
    format!("{namespace}/{name}\0{key}")
}

/// Reads `secrets`.
pub(crate) fn secret_settings(fields: &mut Fields<'_, '_>) -> SecretSettings {
    let Some(mut secrets) = fields.object("secrets") else { return SecretSettings::default() };
    let mut env = Vec::new();
    let mut env_index = Index::default();
    for (item, place) in secrets.list("env") {
        let Some(entry) = environment_secret(item, place) else { continue };
        let EnvironmentSecret { namespace, name, key, .. } = &entry;
        if env_index.set(&value_name(namespace, name, key), env.len()).is_some() {
            place.error(&format!("Secret {namespace}/{name}, key {key}, occurs twice"));
        }
        env.push(entry);
    }
    let mount_path = secrets.text("mountPath").and_then(|(path, place)| {
        if !rules::absolute_path(path) {
            place.error("must be an absolute path of a folder below /");
            return None;
        }
        Some(path.trim_end_matches('/').to_owned())
    });
    secrets.finish();
    SecretSettings { env, env_index, mount_path }
}

fn environment_secret(tree: &super::tree::Tree, place: Place<'_>) -> Option<EnvironmentSecret> {
    let mut fields = Fields::of(tree, place)?;
    let namespace = fields.text("namespace").map_or(DEFAULT_NAMESPACE, |(text, place)| {
        if !rules::dns_label(text) {
            place.error(rules::NOT_A_LABEL);
        }
        text
    });
    let mut part = |name| {
        let (text, place) = fields.filled(name)?;
        if !rules::path_part(text) {
            place.error(rules::NOT_A_PATH_PART);
            return None;
        }
        Some(text.to_owned())
    };
    let (name, key) = (part("name"), part("key"));
    let variable = fields.filled("variable").and_then(|(text, place)| {
        if !rules::variable(text) {
            place.error("must be the name of an environment variable");
            return None;
        }
        Some(text.to_owned())
    });
    fields.finish();
    Some(EnvironmentSecret {
        namespace: namespace.to_owned(),
        name: name?,
        key: key?,
        variable: variable?,
    })
}

/// One value of a Secret, and where it stands.
struct Value<'r> {
    content: Content,
    place: Place<'r>,
}

enum Content {
    Text(String),
    /// No text. A Secret that nobody refers to may hold anything.
    Binary,
    /// Broken, which has been said.
    Broken,
}

/// Answers references to secrets.
pub(crate) struct SecretStore<'r, 's> {
    /// The Secrets that there are, by `<namespace>/<name>`.
    objects: Index,
    /// From [`value_name`] to a number of `values`.
    index: Index,
    values: Vec<Value<'r>>,
    settings: &'s SecretSettings,
    environment: &'s Environment<'s>,
}

impl<'r, 's> SecretStore<'r, 's> {
    /// Reads the Secrets among the resources.
    pub(crate) fn new(
        secrets: Vec<Resource<'_, 'r>>,
        settings: &'s SecretSettings,
        environment: &'s Environment<'s>,
    ) -> Self {
        let (mut objects, mut index) = (Index::default(), Index::default());
        let mut values = Vec::new();
        for Resource { namespace, name, mut fields } in secrets {
            if objects.set(&format!("{namespace}/{name}"), 0).is_some() {
                fields.place().error("occurs twice in resources");
            }
            let mut add = |key: &str, content, place| {
                // The first counts: the API server lets stringData win over data.
                index.set_first(&value_name(&namespace, &name, key), values.len());
                values.push(Value { content, place });
            };
            for (key, value, place) in fields.entries("stringData") {
                let content = text(value, place)
                    .map_or(Content::Broken, |text| Content::Text(text.to_owned()));
                add(key, content, place);
            }
            for (key, value, place) in fields.entries("data") {
                let content = text(value, place).map_or(Content::Broken, |t| decode(t, place));
                add(key, content, place);
            }
        }
        Self { objects, index, values, settings, environment }
    }

    /// What answers a reference, made at `place`, to `key` of the Secret `namespace/name`.
    pub(crate) fn resolve(
        &self,
        place: Place<'_>,
        namespace: &str,
        name: &str,
        key: SecretKey,
    ) -> Option<SecretSource> {
        let value_name = value_name(namespace, name, key.name);
        let source = |origin| {
            Some(SecretSource {
                name: format!("Secret {namespace}/{name}, key {}", key.name),
                origin,
            })
        };
        let value = self.index.get(value_name.as_bytes()).and_then(|n| self.values.get(n));
        if let Some(value) = value {
            let checked = match &value.content {
                Content::Text(text) => key.check(text).map_err(|error| error.to_string()),
                Content::Binary => Err("must be UTF-8 text".to_owned()),
                Content::Broken => return None,
            };
            return match checked {
                Ok(secret) => source(SecretOrigin::Resource(secret)),
                Err(message) => {
                    value.place.error(&message);
                    None
                }
            };
        }
        let number = self.settings.env_index.get(value_name.as_bytes());
        if let Some((index, entry)) = number.and_then(|n| Some((n, self.settings.env.get(n)?))) {
            return source(self.variable(place, index, entry, key)?);
        }
        if let Some(folder) = &self.settings.mount_path {
            // Envoy's file server ends a path there, however it is written.
            if name.contains('?') {
                place.field("name").error("must not contain '?', since it becomes a path");
                return None;
            }
            let path = format!("{folder}/{namespace}/{name}/{}", key.name);
            return source(SecretOrigin::File(path));
        }
        let key = key.name;
        place.error(&match self.objects.get(format!("{namespace}/{name}").as_bytes()) {
            Some(_) => format!("Secret {namespace}/{name} has no key {key}"),
            None => format!(
                "Secret {namespace}/{name}, key {key}, is neither in resources nor in secrets.env, \
                 and there is no secrets.mountPath"
            ),
        });
        None
    }

    fn variable(
        &self,
        place: Place<'_>,
        index: usize,
        entry: &EnvironmentSecret,
        key: SecretKey,
    ) -> Option<SecretOrigin> {
        let variable = &entry.variable;
        let field = format!("secrets.env[{index}].variable");
        let text = match (self.environment)(variable) {
            Variable::Set(text) => text,
            Variable::Unknown => return Some(SecretOrigin::Variable(variable.clone())),
            Variable::Unset => {
                place.report().setting(
                    &field,
                    &format!(
                        "{variable} is not set in the environment of the VM \
                         (vm_config.environment_variables)"
                    ),
                );
                return None;
            }
        };
        match key.check(&text) {
            Ok(secret) => Some(SecretOrigin::Environment(variable.clone(), secret)),
            Err(error) => {
                place.report().setting(&field, &format!("{variable} {error}"));
                None
            }
        }
    }
}

/// Decodes a value of `data`, which may be folded over lines.
fn decode(text: &str, place: Place<'_>) -> Content {
    let folded: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    let Ok(bytes) = BASE64.decode(folded) else {
        place.error("must be base64");
        return Content::Broken;
    };
    String::from_utf8(bytes).map_or(Content::Binary, Content::Text)
}
