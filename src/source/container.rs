//! The container service of ECS, and the agent of EKS Pod Identity
//! (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>).

use super::aws_keys::{document, live_keys};
use super::{
    Call, Failure, Fingerprint, Inputs, Material, MountedFile, Next, Reason, Reply, Source, Step,
    Target, oauth,
};
use crate::credential::Secret;
use crate::policy::{Authorization, Container};
use std::time::Duration;

const STEP: &str = "container credentials";

impl Source for Container {
    fn start(&self, inputs: &Inputs<'_>, now: Duration) -> Step {
        match &self.authorization {
            Authorization::None => ask(self, None),
            Authorization::Given(text) => ask(self, Some(text)),
            Authorization::File(path) => {
                let container = self.clone();
                MountedFile::token(path).start(inputs, now).and_then(now, move |obtained, _| {
                    match obtained.material {
                        Material::Line(text) => ask(&container, Some(&text)),
                        Material::Keys(_) => Step::Failed(Failure::new(STEP, Reason::Malformed)),
                    }
                })
            }
        }
    }

    fn needs(&self) -> Vec<usize> {
        Vec::new()
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        print.text("container").endpoint(&self.endpoint);
        match &self.authorization {
            Authorization::None => print.text("none"),
            Authorization::Given(text) => print.text("given").text(text.expose()),
            Authorization::File(path) => print.text("file").text(path),
        };
    }
}

fn ask(container: &Container, authorization: Option<&Secret>) -> Step {
    let mut headers = vec![("accept".into(), oauth::JSON.to_owned())];
    headers.extend(authorization.map(|text| ("authorization".into(), text.expose().to_owned())));
    let call = Call {
        step: STEP,
        target: Target::Url(container.endpoint.clone()),
        method: "GET",
        headers,
        body: Vec::new(),
    };
    let next = |reply: &Reply<'_>, now| {
        document(STEP, reply, now)
            .and_then(|(answer, document)| live_keys(STEP, &answer, &document, "Token", now))
            .into()
    };
    Step::Call(call, Next::new(next))
}
