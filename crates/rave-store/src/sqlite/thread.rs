//! The threads that own the connections: what they take from their queue and how they commit it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use rusqlite::Connection;
use tokio::sync::mpsc::Receiver;

use super::{
    job::{Job, Outcome},
    session::failure,
};
use crate::{Error, db::Surroundings};

/// Most transactions in one commit: bounds how long the first of them waits for its answer.
const GROUP: usize = 256;

pub(crate) enum Message {
    Run(Box<dyn Job>),
    Stop,
}

/// The queue of the readers, who take from it in turns.
#[derive(Clone)]
pub(crate) struct Reading(Arc<Mutex<Receiver<Message>>>);

impl Reading {
    pub(crate) fn new(queue: Receiver<Message>) -> Self {
        Self(Arc::new(Mutex::new(queue)))
    }

    fn next(&self) -> Option<Box<dyn Job>> {
        // Who waits for a job holds the lock, the others wait for the lock: one wakes per job.
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match queue.blocking_recv()? {
                Message::Run(job) => return Some(job),
                Message::Stop => queue.close(),
            }
        }
    }
}

pub(crate) fn start_reader(
    number: usize,
    connection: Connection,
    queue: Reading,
    around: Surroundings,
) -> Result<JoinHandle<()>, Error> {
    start(format!("db-read-{number}"), move || {
        while let Some(mut job) = queue.next() {
            let failure = read(&connection, &mut *job, &around).err();
            job.answer(failure);
        }
    })
}

fn read(connection: &Connection, job: &mut dyn Job, around: &Surroundings) -> Result<(), Error> {
    control(connection, "BEGIN")?;
    job.run(&mut &*connection, &*around.clock);
    if connection.is_autocommit() {
        Ok(())
    } else {
        control(connection, "ROLLBACK")
    }
}

pub(crate) fn start_writer(
    connection: Connection,
    mut queue: Receiver<Message>,
    around: Surroundings,
) -> Result<JoinHandle<()>, Error> {
    start("db-write".to_owned(), move || {
        let mut group = Vec::new();
        while let Some(message) = queue.blocking_recv() {
            let Message::Run(first) = message else {
                // What was queued before still runs; then the queue ends.
                queue.close();
                continue;
            };
            let more = || match queue.try_recv().ok()? {
                Message::Run(job) => Some(job),
                Message::Stop => {
                    queue.close();
                    None
                }
            };
            let jobs = std::iter::once(first)
                .chain(std::iter::from_fn(more))
                .take(GROUP);
            match write_group(&connection, jobs, &mut group, &around) {
                Ok(appended) => {
                    if appended {
                        around.bell.ring();
                    }
                    group.drain(..).for_each(|it: Box<dyn Job>| it.answer(None));
                }
                Err(error) => refuse(&mut group, &error),
            }
        }
    })
}

/// Runs the jobs in one transaction, each in a savepoint, and commits. Returns whether the event log grew.
///
/// Jobs that arrive meanwhile join, because `jobs` looks into the queue. All that were taken are left in `group`.
fn write_group(
    connection: &Connection,
    jobs: impl Iterator<Item = Box<dyn Job>>,
    group: &mut Vec<Box<dyn Job>>,
    around: &Surroundings,
) -> Result<bool, Error> {
    let mut begun = control(connection, "BEGIN IMMEDIATE");
    let mut grown = false;
    for mut job in jobs {
        if begun.is_ok() {
            begun = write_one(connection, &mut *job, around).map(|appended| grown |= appended);
        }
        group.push(job);
        if begun.is_err() {
            break;
        }
    }
    let committed = begun.and_then(|()| control(connection, "COMMIT"));
    if committed.is_err() && !connection.is_autocommit() {
        control(connection, "ROLLBACK")?;
    }
    committed.map(|()| grown)
}

fn write_one(
    connection: &Connection,
    job: &mut dyn Job,
    around: &Surroundings,
) -> Result<bool, Error> {
    control(connection, "SAVEPOINT job")?;
    let outcome = job.run(&mut &*connection, &*around.clock);
    if connection.is_autocommit() {
        // A full disk and the like end the whole transaction, and with it the work of the jobs before.
        return Err(Error::Unavailable {
            what: "the group's transaction was ended by the engine".into(),
            source: None,
        });
    }
    match outcome {
        Outcome::Keep { appended } => {
            control(connection, "RELEASE job")?;
            Ok(appended)
        }
        Outcome::Undo => {
            control(connection, "ROLLBACK TO job")?;
            control(connection, "RELEASE job")?;
            Ok(false)
        }
    }
}

/// Tells everyone in the group that it came to nothing.
fn refuse(group: &mut Vec<Box<dyn Job>>, error: &Error) {
    let reason = crate::error::chain(error);
    for job in group.drain(..) {
        let what = "committing a group of transactions";
        job.answer(Some(Error::unavailable(what, reason.clone())));
    }
}

fn control(connection: &Connection, sql: &'static str) -> Result<(), Error> {
    let run = || connection.prepare_cached(sql)?.raw_execute();
    run().map(drop).map_err(|it| failure(sql, it))
}

fn start(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(|it| Error::unavailable("starting a thread", it))
}
