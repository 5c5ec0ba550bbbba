//! `secrets` as the runner protocol has them: where the runner finds each, and as whom it may ask.
//!
//! Servers and roles are variables that projects set, with the names that GitLab's users know.

use std::collections::HashMap;

use rave_ci_lang::{JobPlan, SecretSource, Unknown, Variable, expand};
use serde_json::{Map, Value, json};

/// Returns what a job wants of other servers. `variables` are the job's, identity tokens included.
pub(super) fn secrets(plan: &JobPlan, variables: &[Variable]) -> Value {
    let fill = |text: &str| expand(text, variables, Unknown::Empty);
    let all = plan.secrets.iter().map(|secret| {
        let token = token(secret, plan, variables);
        let mut source = filled(&secret.source, &fill);
        source["server"] = server(&secret.provider, &token, &known(variables));
        if secret.provider == "aws_secrets_manager" {
            aws(&mut source, variables);
        }
        let wire = json!({ &secret.provider: source, "file": secret.file });
        (secret.name.clone(), wire)
    });
    Value::Object(all.collect::<Map<_, _>>())
}

fn known(variables: &[Variable]) -> HashMap<&str, &str> {
    let pairs = variables.iter().map(|it| (&*it.key, &*it.value));
    pairs.collect()
}

/// Returns the identity token to show: the one that is named, or the only one there is.
fn token(secret: &SecretSource, plan: &JobPlan, variables: &[Variable]) -> String {
    match (&secret.token, &plan.id_tokens[..]) {
        (Some(text), _) => expand(text, variables, Unknown::Empty),
        (None, [only]) => known(variables)
            .get(only.name.as_str())
            .map_or_else(String::new, |it| (*it).to_owned()),
        (None, _) => String::new(),
    }
}

/// Fills variables into every text of a source.
fn filled(source: &Value, fill: &impl Fn(&str) -> String) -> Value {
    match source {
        Value::String(text) => Value::String(fill(text)),
        Value::Object(map) => {
            let pairs = map
                .iter()
                .map(|(key, value)| (key.clone(), filled(value, fill)));
            Value::Object(pairs.collect())
        }
        other => other.clone(),
    }
}

/// Returns the server that a provider's secrets are on, as the project's variables name it.
fn server(provider: &str, token: &str, variables: &HashMap<&str, &str>) -> Value {
    let of = |key: &str| variables.get(key).copied().unwrap_or_default();
    match provider {
        "vault" => {
            let mut data = json!({"jwt": token});
            let role = of("VAULT_AUTH_ROLE");
            if !role.is_empty() {
                data["role"] = json!(role);
            }
            let path = match of("VAULT_AUTH_PATH") {
                "" => "jwt",
                path => path,
            };
            json!({
                "url": of("VAULT_SERVER_URL"),
                "namespace": of("VAULT_NAMESPACE"),
                "auth": {"name": "jwt", "path": path, "data": data},
            })
        }
        "azure_key_vault" => json!({
            "url": of("AZURE_KEY_VAULT_SERVER_URL"),
            "client_id": of("AZURE_CLIENT_ID"),
            "tenant_id": of("AZURE_TENANT_ID"),
            "jwt": token,
        }),
        "gcp_secret_manager" => json!({
            "project_number": of("GCP_PROJECT_NUMBER"),
            "workload_identity_federation_pool_id": of("GCP_WORKLOAD_IDENTITY_FEDERATION_POOL_ID"),
            "workload_identity_federation_provider_id": of("GCP_WORKLOAD_IDENTITY_FEDERATION_PROVIDER_ID"),
            "jwt": token,
        }),
        _ => json!({ "jwt": token }),
    }
}

/// What the file does not say of an AWS secret is a variable of the project.
fn aws(source: &mut Value, variables: &[Variable]) {
    let known = known(variables);
    for (key, variable) in [
        ("region", "AWS_REGION"),
        ("role_arn", "AWS_ROLE_ARN"),
        ("role_session_name", "AWS_ROLE_SESSION_NAME"),
    ] {
        let given = source[key].as_str().unwrap_or_default();
        let value = match given {
            "" => known.get(variable).copied().unwrap_or_default(),
            given => given,
        };
        source["server"][key] = json!(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::plan::tests::job;
    use rave_ci_lang::IdToken;

    #[test]
    fn a_vault_gets_the_only_token_and_the_role() {
        let mut plan = job("x");
        plan.id_tokens = vec![IdToken {
            name: "VAULT_ID_TOKEN".into(),
            audience: vec!["v".into()],
        }];
        plan.secrets = vec![SecretSource {
            name: "PASSWORD".into(),
            provider: "vault".into(),
            source: json!({"engine": {"name": "kv-v2", "path": "ops"}, "path": "$CI_PROJECT_NAME/db", "field": "password"}),
            file: false,
            token: None,
        }];
        let variables = [
            ("CI_PROJECT_NAME", "app"),
            ("VAULT_SERVER_URL", "https://vault.test"),
            ("VAULT_AUTH_ROLE", "deploy"),
            ("VAULT_ID_TOKEN", "signed"),
        ]
        .map(|(key, value)| Variable::public(key, value));
        let wire = secrets(&plan, &variables);
        assert_eq!(
            wire,
            json!({"PASSWORD": {"file": false, "vault": {
                "engine": {"name": "kv-v2", "path": "ops"}, "path": "app/db", "field": "password",
                "server": {"url": "https://vault.test", "namespace": "", "auth": {
                    "name": "jwt", "path": "jwt", "data": {"jwt": "signed", "role": "deploy"}}}}}})
        );
    }
}
