//! Where the caches of an entry are: in a bucket, by the stock runner's own keys.

use rave_core::secret::Secret;
use rave_runner::S3Cache;

use super::entry::expand;
use crate::runner::table::{Lines, Table};

/// Where a bucket is that does not say it.
const REGION: &str = "us-east-1";

/// Reads the table. `None` when caches are kept on this machine.
pub(super) fn read(
    lines: &mut Lines<'_>,
    mut table: Table<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<S3Cache> {
    table.skip_empty(&["gcs", "azure"]);
    table.skip_if("MaxUploadedArchiveSize", "0");
    let in_bucket = table.text_is(lines, "Type", "s3");
    let found = if in_bucket {
        let path = table.text(lines, "Path").unwrap_or_default();
        let shared = table.flag(lines, "Shared").unwrap_or(false);
        match table.tables(lines, "s3").pop() {
            None => {
                let at = table.offset("s3");
                lines.complain(
                    at,
                    "runners.cache.s3 is missing, which names the bucket".to_owned(),
                );
                None
            }
            Some(s3) => bucket(lines, s3, environment).map(|it| S3Cache { path, shared, ..it }),
        }
    } else {
        table.skip_empty(&["s3"]);
        None
    };
    table.rest(lines, |key| match key {
        "MaxUploadedArchiveSize" => "the size of caches has no limit of its own",
        _ => "caches are kept on this machine",
    });
    found
}

fn bucket(
    lines: &mut Lines<'_>,
    mut table: Table<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<S3Cache> {
    let given = |it: &String| !it.is_empty();
    let bucket = table.need_text(lines, "BucketName");
    let access_key = table.need_text(lines, "AccessKey");
    let secret_key = table.need_text(lines, "SecretKey");
    let session_token = table.text(lines, "SessionToken").filter(given);
    let server_address = table.text(lines, "ServerAddress").unwrap_or_default();
    let region = table.text(lines, "BucketLocation").filter(given);
    let insecure = table.flag(lines, "Insecure").unwrap_or(false);
    let path_style = table.flag(lines, "PathStyle");
    table.skip_if("AuthenticationType", "");
    table.skip_if("AuthenticationType", "access-key");
    table.rest(lines, |key| match key {
        "AuthenticationType" => "there is AccessKey with SecretKey",
        _ => "it has no meaning here",
    });
    let secret = |text: String| Secret::new(expand(&text, environment));
    Some(S3Cache {
        server_address,
        insecure,
        bucket: bucket?,
        region: region.unwrap_or_else(|| REGION.to_owned()),
        access_key: expand(&access_key?, environment),
        secret_key: secret(secret_key?),
        session_token: session_token.map(secret),
        path: String::new(),
        shared: false,
        path_style,
    })
}
