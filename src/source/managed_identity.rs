//! Managed identities of Azure: the service of a machine, and that of App Service and Container Apps
//! (<https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token>,
//! <https://learn.microsoft.com/azure/app-service/overview-managed-identity>).

use super::form::Form;
use super::{Call, Failure, Fingerprint, Inputs, Next, Reason, Reply, Source, Step, Target, oauth};
use crate::policy::{IdentityService, ManagedIdentity};
use std::time::Duration;

const STEP: &str = "managed identity token";
const MACHINE_VERSION: &str = "2018-02-01";
const APP_SERVICE_VERSION: &str = "2019-08-01";

/// A token of a managed identity.
#[derive(Clone, Debug)]
pub struct AzureManagedIdentity {
    /// Who is asked.
    pub service: IdentityService,
    /// Whose token.
    pub identity: ManagedIdentity,
    /// What it is for: a scope without `/.default`.
    pub resource: String,
}

impl Source for AzureManagedIdentity {
    fn start(&self, _: &Inputs<'_>, _: Duration) -> Step {
        let (endpoint, version, header) = match &self.service {
            IdentityService::Machine(endpoint) => {
                (endpoint, MACHINE_VERSION, ("metadata".into(), "true".to_owned()))
            }
            IdentityService::AppService { endpoint, header } => (
                endpoint,
                APP_SERVICE_VERSION,
                ("x-identity-header".into(), header.expose().to_owned()),
            ),
        };
        let mut query = Form::default();
        query.field("api-version", version);
        query.field("resource", &self.resource);
        if let Some((name, id)) = self.identity() {
            query.field(name, id);
        }
        let mut endpoint = endpoint.clone();
        endpoint.path.push(if endpoint.path.contains('?') { '&' } else { '?' });
        endpoint.path.push_str(query.as_str());
        let call = Call {
            step: STEP,
            target: Target::Url(endpoint),
            method: "GET",
            headers: vec![header],
            body: Vec::new(),
        };
        let service = self.service.clone();
        let next = move |reply: &Reply<'_>, now| {
            let secrets = match &service {
                IdentityService::Machine(_) => Vec::new(),
                IdentityService::AppService { header, .. } => vec![header],
            };
            oauth::token(STEP, reply, now, &secrets).map_err(judged).into()
        };
        Step::Call(call, Next::new(next))
    }

    fn needs(&self) -> Vec<usize> {
        Vec::new()
    }

    fn fingerprint(&self, print: &mut Fingerprint) {
        print.text("managed identity").text(&self.resource);
        match &self.service {
            IdentityService::Machine(endpoint) => print.text("machine").endpoint(endpoint),
            IdentityService::AppService { endpoint, header } => {
                print.text("app service").endpoint(endpoint).text(header.expose())
            }
        };
        print.list(
            self.identity()
                .into_iter()
                .flat_map(|(name, id)| [name, id])
                .collect::<Vec<_>>()
                .into_iter(),
        );
    }
}

impl AzureManagedIdentity {
    /// How the service is told which identity it is about.
    fn identity(&self) -> Option<(&'static str, &str)> {
        match (&self.identity, &self.service) {
            (ManagedIdentity::System, _) => None,
            (ManagedIdentity::ClientId(id), _) => Some(("client_id", id)),
            (ManagedIdentity::ObjectId(id), _) => Some(("object_id", id)),
            (ManagedIdentity::ResourceId(id), IdentityService::Machine(_)) => {
                Some(("msi_res_id", id))
            }
            (ManagedIdentity::ResourceId(id), IdentityService::AppService { .. }) => {
                Some(("mi_res_id", id))
            }
        }
    }
}

/// The service has nothing at an address while it is being updated.
fn judged(failure: Failure) -> Failure {
    match failure.status {
        Some(404 | 410) => Failure { reason: Reason::Server, lasting: false, ..failure },
        _ => failure,
    }
}
