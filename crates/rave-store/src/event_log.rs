//! The log of what happened: appended in the transaction of the change, read by durable cursors.
//!
//! Positions grow in the order of commits on both engines, so a reader that has seen position `n` has seen everything
//! up to `n` that will ever be there. SQLite has one writer anyway; on PostgreSQL an append holds a lock until its
//! transaction ends, so appends come last in long transactions.

use rave_core::{
    event::{Event, EventKind, NewEvent},
    id::ProjectId,
    time::Timestamp,
    trace::TraceContext,
};
use uuid::Uuid;

use crate::{Engine, Error, Row, Tx, Value, params};

/// The channel on which PostgreSQL tells other processes of an append.
pub(crate) const CHANNEL: &str = "rave_event";

/// Held from an append to the end of its transaction. Any number that no one else locks.
const LOCK: &str = "SELECT 1 AS locked FROM (SELECT pg_advisory_xact_lock(7210950174419)) AS it";
const NOTIFY: &str = "SELECT 1 AS told FROM (SELECT pg_notify('rave_event', '')) AS it";

impl Tx<'_> {
    /// Appends an event. It is in the log exactly if this transaction commits.
    pub fn append(&mut self, event: NewEvent) -> Result<Event, Error> {
        let at = self.now();
        let id = uuid_at(at);
        let first = !self.has_appended();
        if first && self.engine() == Engine::Postgres {
            self.query(LOCK, &[])?;
            self.query(NOTIFY, &[])?;
        }
        let sql = "INSERT INTO event_log (id, kind, project_id, subject, payload, traceparent, task_id, at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING seq";
        let params = params![
            id.to_string(),
            event.kind.label(),
            event.project.map(|it| it.0),
            &event.subject,
            event.payload.to_string(),
            event.trace.map(|it| it.to_string()),
            event.task_id.clone(),
            at,
        ];
        let seq = self.query_one(sql, params)?.int("seq")?;
        self.mark_appended();
        Ok(Event {
            seq,
            id,
            at,
            what: event,
        })
    }

    /// Appends events in order, many in one statement.
    pub fn append_all(&mut self, events: &[NewEvent]) -> Result<(), Error> {
        const AT_ONCE: usize = 100;
        let at = self.now();
        for events in events.chunks(AT_ONCE) {
            if !self.has_appended() && self.engine() == Engine::Postgres {
                self.query(LOCK, &[])?;
                self.query(NOTIFY, &[])?;
            }
            let (mut rows, mut values) = (Vec::new(), Vec::new());
            for event in events {
                let row = params![
                    uuid_at(at).to_string(),
                    event.kind.label(),
                    event.project.map(|it| it.0),
                    &event.subject,
                    event.payload.to_string(),
                    event.trace.map(|it| it.to_string()),
                    event.task_id.clone(),
                    at,
                ];
                let first = values.len() + 1;
                let places = (first..first + row.len()).map(|it| format!("${it}"));
                rows.push(format!("({})", places.collect::<Vec<_>>().join(", ")));
                values.extend_from_slice(row);
            }
            let sql = format!(
                "INSERT INTO event_log (id, kind, project_id, subject, payload, traceparent, task_id, at) VALUES {}",
                rows.join(", ")
            );
            self.execute(&sql, &values)?;
            self.mark_appended();
        }
        Ok(())
    }

    /// Returns up to `limit` events after position `cursor`, oldest first: those of `kinds`, or all when it is empty.
    /// Kinds that only a newer program knows are passed over.
    pub fn events_after(
        &mut self,
        cursor: i64,
        kinds: &[EventKind],
        limit: u32,
    ) -> Result<Vec<Event>, Error> {
        let kinds = if kinds.is_empty() {
            EventKind::ALL
        } else {
            kinds
        };
        let mut params = vec![Value::from(cursor), Value::from(limit)];
        params.extend(kinds.iter().map(|it| Value::from(it.label())));
        let places = (3..3 + kinds.len())
            .map(|it| format!("${it}"))
            .collect::<Vec<_>>()
            .join(", ");
        let sql = format!(
            "SELECT seq, id, kind, project_id, subject, payload, traceparent, task_id, at
             FROM event_log WHERE seq > $1 AND kind IN ({places}) ORDER BY seq LIMIT $2"
        );
        self.query(&sql, &params)?.iter().map(event_of).collect()
    }

    /// Returns the position of the newest event, 0 for an empty log.
    pub fn last_event(&mut self) -> Result<i64, Error> {
        self.query_one("SELECT COALESCE(MAX(seq), 0) AS seq FROM event_log", &[])?
            .int("seq")
    }

    /// Returns the position up to which `consumer` is done, 0 at first.
    pub fn cursor(&mut self, consumer: &str) -> Result<i64, Error> {
        let sql = "SELECT cursor FROM event_consumer WHERE name = $1";
        self.query_opt(sql, params![consumer])?
            .map_or(Ok(0), |row| row.int("cursor"))
    }

    /// Records that `consumer` is done up to position `to`. A cursor never moves back.
    pub fn advance(&mut self, consumer: &str, to: i64) -> Result<(), Error> {
        let sql = "INSERT INTO event_consumer (name, cursor, updated_at) VALUES ($1, $2, $3)
                   ON CONFLICT (name) DO UPDATE SET cursor = excluded.cursor, updated_at = excluded.updated_at
                   WHERE event_consumer.cursor < excluded.cursor";
        let now = self.now();
        self.execute(sql, params![consumer, to, now])?;
        Ok(())
    }
}

fn event_of(row: &Row) -> Result<Event, Error> {
    let seq = row.int("seq")?;
    let damaged = |what: &str| Error::Corrupt {
        what: format!("event {seq} has no valid {what}"),
        source: None,
    };
    let kind = EventKind::from_label(&row.text("kind")?).ok_or_else(|| damaged("kind"))?;
    let payload = serde_json::from_str(&row.text("payload")?).map_err(|_| damaged("payload"))?;
    let mut what = NewEvent::new(kind, row.text("subject")?).payload(payload);
    what.project = row.opt_int("project_id")?.map(ProjectId);
    what.trace = row
        .opt_text("traceparent")?
        .as_deref()
        .and_then(TraceContext::parse);
    what.task_id = row.opt_text("task_id")?;
    let id = Uuid::parse_str(&row.text("id")?).map_err(|_| damaged("id"))?;
    Ok(Event {
        seq,
        id,
        at: row.time("at")?,
        what,
    })
}

/// Makes a UUIDv7 that tells the store's time and not the machine's.
pub(crate) fn uuid_at(at: Timestamp) -> Uuid {
    let millis = u64::try_from(at.0).unwrap_or(0);
    let nanos = u32::try_from(millis % 1000 * 1_000_000).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(
        uuid::NoContext,
        millis / 1000,
        nanos,
    ))
}
