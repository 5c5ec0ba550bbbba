//! W3C trace context: what ties a push to its pipeline, jobs and messages.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A `traceparent` of version 00, see <https://www.w3.org/TR/trace-context/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace: [u8; 16],
    span: [u8; 8],
    sampled: bool,
}

impl TraceContext {
    /// Starts a new trace.
    #[must_use]
    pub fn start() -> Self {
        let mut bytes = [0_u8; 24];
        // Without randomness the ids would repeat; a trace is never worth stopping for, so they may.
        let _ = getrandom::fill(&mut bytes);
        let mut trace = [1_u8; 16];
        let mut span = [1_u8; 8];
        trace.copy_from_slice(&bytes[..16]);
        span.copy_from_slice(&bytes[16..]);
        trace[15] |= 1;
        span[7] |= 1;
        Self {
            trace,
            span,
            sampled: true,
        }
    }

    /// Returns a new span of the same trace.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            trace: self.trace,
            sampled: self.sampled,
            ..Self::start()
        }
    }

    /// Reads a `traceparent` header. `None` when it is malformed or all zeros, as the specification asks.
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lower = header.bytes().all(|it| !it.is_ascii_uppercase());
        if !lower
            || version.len() != 2
            || version == "ff"
            || (version == "00" && parts.next().is_some())
        {
            return None;
        }
        let (mut trace_bytes, mut span_bytes, mut flag) = ([0_u8; 16], [0_u8; 8], [0_u8; 1]);
        hex::decode_to_slice(version, &mut flag).ok()?;
        hex::decode_to_slice(trace, &mut trace_bytes).ok()?;
        hex::decode_to_slice(span, &mut span_bytes).ok()?;
        hex::decode_to_slice(flags, &mut flag).ok()?;
        if trace_bytes == [0; 16] || span_bytes == [0; 8] {
            return None;
        }
        Some(Self {
            trace: trace_bytes,
            span: span_bytes,
            sampled: flag[0] & 1 == 1,
        })
    }

    /// Returns the trace id, 32 hex digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex::encode(self.trace)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{}-{}-{:02x}",
            hex::encode(self.trace),
            hex::encode(self.span),
            u8::from(self.sampled)
        )
    }
}

impl Serialize for TraceContext {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a traceparent"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_survives_the_round_trip() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(header).expect("valid");
        assert_eq!(context.to_string(), header);
        assert_eq!(context.child().trace_id(), context.trace_id());
        assert_ne!(context.child(), context);
    }

    #[test]
    fn malformed_headers_start_no_trace() {
        for header in [
            "",
            "00",
            "00-0-0-0",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
        ] {
            assert_eq!(TraceContext::parse(header), None, "{header}");
        }
    }
}
