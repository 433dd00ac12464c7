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
    mount_path: Option<String>,
}

impl SecretSettings {
    /// The folder under which secrets are mounted.
    pub fn mount_path(&self) -> Option<&str> {
        self.mount_path.as_deref()
    }
}

/// Where the text of one secret comes from.
#[derive(Debug)]
pub enum SecretSource {
    /// It is at hand: from `resources`, or from the environment.
    Known(Secret),
    /// It is in a variable of an environment that is not this one.
    Variable(String),
    /// It is in a mounted file.
    File(String),
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

/// Reads `secrets`.
pub(crate) fn secret_settings(fields: &mut Fields<'_, '_>) -> SecretSettings {
    let Some(mut secrets) = fields.object("secrets") else { return SecretSettings::default() };
    let mut env: Vec<EnvironmentSecret> = Vec::new();
    for (item, place) in secrets.list("env") {
        let Some(entry) = environment_secret(item, place) else { continue };
        if env.iter().any(|other| {
            (&other.namespace, &other.name, &other.key)
                == (&entry.namespace, &entry.name, &entry.key)
        }) {
            place.error(&format!(
                "Secret {}/{}, key {}, occurs twice",
                entry.namespace, entry.name, entry.key
            ));
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
    SecretSettings { env, mount_path }
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

/// The values of a Secret, by key.
type Object<'r> = Vec<(String, Value<'r>)>;

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
    /// From `<namespace>/<name>` to a number of `objects`.
    index: Index,
    objects: Vec<Object<'r>>,
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
        let mut index = Index::default();
        let mut objects: Vec<Object<'r>> = Vec::new();
        for Resource { namespace, name, mut fields } in secrets {
            let place = fields.place();
            let mut values = Object::new();
            // The first is found first: the API server lets stringData win over data.
            for (key, value, place) in fields.entries("stringData") {
                let content = text(value, place)
                    .map_or(Content::Broken, |text| Content::Text(text.to_owned()));
                values.push((key.to_owned(), Value { content, place }));
            }
            for (key, value, place) in fields.entries("data") {
                let content = text(value, place).map_or(Content::Broken, |t| decode(t, place));
                values.push((key.to_owned(), Value { content, place }));
            }
            if index.set(&format!("{namespace}/{name}"), objects.len()).is_some() {
                place.error("occurs twice in resources");
            }
            objects.push(values);
        }
        Self { index, objects, settings, environment }
    }

    /// What answers a reference, made at `place`, to `key` of the Secret `namespace/name`.
    pub(crate) fn resolve(
        &self,
        place: Place<'_>,
        namespace: &str,
        name: &str,
        key: SecretKey,
    ) -> Option<SecretSource> {
        let object = self
            .index
            .get(format!("{namespace}/{name}").as_bytes())
            .and_then(|number| self.objects.get(number));
        let value = object.and_then(|values| values.iter().find(|(name, _)| name == key.name));
        if let Some((_, value)) = value {
            let checked = match &value.content {
                Content::Text(text) => key.check(text).map_err(|error| error.to_string()),
                Content::Binary => Err("must be UTF-8 text".to_owned()),
                Content::Broken => return None,
            };
            return match checked {
                Ok(secret) => Some(SecretSource::Known(secret)),
                Err(message) => {
                    value.place.error(&message);
                    None
                }
            };
        }
        if let Some((index, entry)) = self.settings.env.iter().enumerate().find(|(_, entry)| {
            entry.namespace == namespace && entry.name == name && entry.key == key.name
        }) {
            return self.variable(place, index, entry, key);
        }
        if let Some(folder) = &self.settings.mount_path {
            return Some(SecretSource::File(format!("{folder}/{namespace}/{name}/{}", key.name)));
        }
        let key = key.name;
        place.error(&match object {
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
    ) -> Option<SecretSource> {
        let variable = &entry.variable;
        let field = format!("secrets.env[{index}].variable");
        let text = match (self.environment)(variable) {
            Variable::Set(text) => text,
            Variable::Unknown => return Some(SecretSource::Variable(variable.clone())),
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
            Ok(secret) => Some(SecretSource::Known(secret)),
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
