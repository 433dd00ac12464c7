//! The default chain of AWS as the environment of the VM makes it.

use aigw_auth::policy::{AwsCredentials, AwsSource, Credentials, Variable, parse};
use aigw_auth::source::AwsChain;
use serde_json::{Map, Value, json};

/// What the policy `default/p` has in this environment, or what is said of it. `own` are our settings of it.
pub(crate) fn credentials(
    environment: &Map<String, Value>,
    own: &Value,
) -> Result<AwsCredentials, Vec<String>> {
    let own = if own.is_null() { json!({}) } else { own.clone() };
    let configuration = json!({
        "resources": [{
            "apiVersion": "aigateway.envoyproxy.io/v1beta1",
            "kind": "BackendSecurityPolicy",
            "metadata": {"name": "p"},
            "spec": {
                "type": "AWSCredentials",
                "awsCredentials": {"region": "us-east-1"},
                "targetRefs": [
                    {"group": "aigateway.envoyproxy.io", "kind": "AIServiceBackend", "name": "a"}
                ],
            },
        }],
        "egress": {"cluster": "egress"},
        "files": {"cluster": "files"},
        "policies": {"default/p": own},
    });
    let variable = |name: &str| match environment.get(name) {
        Some(value) => Variable::Set(value.as_str().unwrap().to_owned()),
        None => Variable::Unset,
    };
    match parse(configuration.to_string().as_bytes(), &variable) {
        Ok(loaded) => match loaded.config.policies.into_iter().next().unwrap().credentials {
            Credentials::Aws(aws) => Ok(aws),
            other => panic!("{other:?}"),
        },
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

/// The chain after the environment, which has no keys.
pub(crate) fn chain_of(aws: AwsCredentials) -> AwsChain {
    let AwsSource::Chain(chain) = aws.source else { panic!("the environment answers by itself") };
    AwsChain { chain: *chain, sts: aws.sts.unwrap(), session_name: aws.session_name }
}
