//! What verifiers of this instance's tokens read: the discovery document (`OpenID` Connect Discovery 1.0) and the keys.

use axum::Json;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use rave_http::HttpError;
use serde_json::{Value, json};

use super::{Instance, Part};

/// The claims of a job's identity token.
const CLAIMS: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "namespace_id",
    "namespace_path",
    "project_id",
    "project_path",
    "project_visibility",
    "user_id",
    "user_login",
    "user_email",
    "user_access_level",
    "pipeline_id",
    "pipeline_source",
    "job_id",
    "ref",
    "ref_type",
    "ref_path",
    "ref_protected",
    "sha",
    "environment",
    "environment_protected",
    "deployment_tier",
    "environment_action",
    "runner_id",
    "runner_environment",
    "ci_config_ref_uri",
    "ci_config_sha",
    "job_project_id",
    "job_project_path",
];

/// Returns the discovery document. There is no authorization endpoint yet: tokens are those of jobs.
pub(crate) async fn document(shared: Instance) -> Json<Value> {
    let url = &shared.external_url;
    Json(json!({
        "issuer": url,
        "jwks_uri": format!("{url}/oauth/discovery/keys"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "claim_types_supported": ["normal"],
        "claims_supported": CLAIMS,
    }))
}

/// Returns the public keys as a JSON Web Key Set.
pub(crate) async fn keys(part: Part) -> Result<Response, HttpError> {
    let key = part.signing.get().await.map_err(HttpError::internal)?;
    let body = Json(json!({"keys": [key.public()]}));
    Ok(([(CACHE_CONTROL, "public, max-age=3600")], body).into_response())
}
