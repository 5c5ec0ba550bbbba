//! The log as far as a page shows it: the last part of it, rendered as if all of it had been.

use rave_core::id::JobId;
use rave_core::permission::{Access, ReadPipelines};

use super::job_view::LogView;
use crate::error::CiError;
use crate::render::{LogDocument, LogRenderer};
use crate::service::Ci;

/// How much of a log a page shows, in bytes.
const SHOWN_BYTES: u64 = 2 << 20;
/// How many lines of a log a page shows.
const SHOWN_LINES: usize = 20_000;
/// How much of a log is read at once.
pub(super) const PIECE: usize = 256 << 10;

/// A part of a page that the log is on, and the renderer that can go on from there.
pub(super) struct RenderedLog {
    pub(super) view: LogView,
    pub(super) renderer: LogRenderer,
}

/// Renders the end of a job's log. `ended`: the job has ended, so nothing more comes.
pub(super) async fn render(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    job: JobId,
    size: u64,
    ended: bool,
) -> Result<RenderedLog, CiError> {
    let mut start = size.saturating_sub(SHOWN_BYTES);
    let tail = read(ci, access, job, start, size).await?;
    let cut = cut(&tail, start > 0);
    start += cut as u64;
    let mut renderer = skip(ci, access, job, start).await?;
    let mut document = LogDocument::inside(renderer.open_sections());
    document.add(&renderer.feed(&tail[cut..]));
    let complete = ended && start + (tail.len() - cut) as u64 >= size;
    if complete {
        document.add(&renderer.finish());
    }
    let view = LogView {
        lines: document.finish(),
        unfinished: renderer.unfinished(),
        skipped: start,
        complete,
        empty: size == 0,
    };
    Ok(RenderedLog { view, renderer })
}

/// Returns a renderer that has passed over the first `end` bytes of a log.
pub(super) async fn skip(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    job: JobId,
    end: u64,
) -> Result<LogRenderer, CiError> {
    let mut renderer = LogRenderer::new();
    while renderer.offset() < end {
        let left = usize::try_from(end - renderer.offset()).unwrap_or(PIECE);
        let piece = ci
            .read_log(access, job, renderer.offset(), left.min(PIECE))
            .await?;
        let fresh = &piece.bytes[..piece.bytes.len().min(left)];
        if fresh.is_empty() {
            break;
        }
        renderer.skip(fresh);
    }
    Ok(renderer)
}

/// Reads a part of a log into memory.
async fn read(
    ci: &Ci,
    access: &Access<ReadPipelines>,
    job: JobId,
    start: u64,
    end: u64,
) -> Result<Vec<u8>, CiError> {
    let mut bytes = Vec::new();
    loop {
        let at = start + bytes.len() as u64;
        let left = usize::try_from(end.saturating_sub(at)).unwrap_or(PIECE);
        if left == 0 {
            return Ok(bytes);
        }
        let piece = ci.read_log(access, job, at, left.min(PIECE)).await?;
        let fresh = &piece.bytes[..piece.bytes.len().min(left)];
        if fresh.is_empty() {
            return Ok(bytes);
        }
        bytes.extend_from_slice(fresh);
    }
}

/// Returns where the shown part begins: at most so many lines before the end, and at the beginning of a line.
fn cut(tail: &[u8], inside: bool) -> usize {
    let breaks = tail
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at + 1);
    if let Some(at) = breaks.clone().rev().nth(SHOWN_LINES) {
        return at;
    }
    if inside {
        breaks.into_iter().next().unwrap_or(0)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shown_part_begins_at_a_line() {
        assert_eq!(cut(b"all of\nit", false), 0);
        assert_eq!(cut(b"half a line\nthe rest", true), 12);
        assert_eq!(cut(b"no end", true), 0);
        let many = "x\n".repeat(SHOWN_LINES + 5);
        assert_eq!(cut(many.as_bytes(), false), 10);
    }
}
