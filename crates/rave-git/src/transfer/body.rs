//! A request's body as it arrives, inflated when the client deflated it.

use std::io::Write as _;
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::GzDecoder;
use futures_util::StreamExt as _;

/// How long a client may be silent in the middle of its request.
const SILENCE: Duration = Duration::from_secs(300);
/// Git deflates negotiations only, never packs. This is a negotiation over a million commits.
const INFLATED_BYTES: usize = 64 << 20;
/// How much is inflated at once: it may become a thousand times as much.
const PIECE_BYTES: usize = 4 << 10;

/// The body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("the client went away")]
    Gone(#[source] axum::Error),
    #[error("the client was silent for {} seconds", SILENCE.as_secs())]
    Silent,
    #[error("the body is not valid gzip")]
    Gzip(#[source] std::io::Error),
    #[error("the body inflates to more than {INFLATED_BYTES} bytes")]
    TooLarge,
}

/// A request's body.
pub(crate) struct RequestBody {
    stream: BodyDataStream,
    inflate: Option<GzDecoder<Vec<u8>>>,
    /// Received but not inflated yet.
    pending: Bytes,
    inflated: usize,
}

impl RequestBody {
    pub(crate) fn new(headers: &HeaderMap, body: Body) -> Self {
        let encoding = headers
            .get(header::CONTENT_ENCODING)
            .and_then(|it| it.to_str().ok());
        let deflated = matches!(encoding, Some("gzip" | "x-gzip"));
        Self {
            stream: body.into_data_stream(),
            inflate: deflated.then(|| GzDecoder::new(Vec::new())),
            pending: Bytes::new(),
            inflated: 0,
        }
    }

    /// Returns the next piece, `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            if self.pending.is_empty() {
                let next = tokio::time::timeout(SILENCE, self.stream.next()).await;
                match next.map_err(|_| BodyError::Silent)? {
                    None => return self.end(),
                    Some(piece) => self.pending = piece.map_err(BodyError::Gone)?,
                }
            }
            let Some(inflate) = &mut self.inflate else {
                return Ok(Some(std::mem::take(&mut self.pending)));
            };
            let piece = self.pending.split_to(self.pending.len().min(PIECE_BYTES));
            inflate.write_all(&piece).map_err(BodyError::Gzip)?;
            if let Some(bytes) = self.take_inflated()? {
                return Ok(Some(bytes));
            }
        }
    }

    fn end(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(inflate) = &mut self.inflate else {
            return Ok(None);
        };
        inflate.try_finish().map_err(BodyError::Gzip)?;
        self.take_inflated()
    }

    fn take_inflated(&mut self) -> Result<Option<Bytes>, BodyError> {
        let Some(inflate) = &mut self.inflate else {
            return Ok(None);
        };
        let bytes = std::mem::take(inflate.get_mut());
        self.inflated += bytes.len();
        if self.inflated > INFLATED_BYTES {
            return Err(BodyError::TooLarge);
        }
        Ok((!bytes.is_empty()).then(|| Bytes::from(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn deflated(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(body: Vec<u8>) -> RequestBody {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        RequestBody::new(&headers, Body::from(body))
    }

    #[tokio::test]
    async fn deflated_bodies_are_inflated_within_bounds() {
        let text = b"0032want 0123\n".repeat(1000);
        let mut body = read(deflated(&text));
        let mut found = Vec::new();
        while let Some(piece) = body.next().await.unwrap() {
            found.extend_from_slice(&piece);
        }
        assert!(found == text);

        let mut bomb = read(deflated(&vec![0; INFLATED_BYTES + 1]));
        let error = loop {
            match bomb.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("a bomb has no good end"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, BodyError::TooLarge), "{error}");
        assert!(matches!(
            read(b"not gzip at all".to_vec()).next().await,
            Err(BodyError::Gzip(_))
        ));
    }
}
