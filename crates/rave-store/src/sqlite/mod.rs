//! SQLite: one thread writes, a few read, all in one process.
//!
//! The queue to the writer is what makes durable writes fast: everything that waits is committed together, so one
//! wait for the disk serves many. Both queues are bounded; a full one makes callers wait.

mod job;
mod session;
mod thread;

use std::{path::Path, sync::Mutex, thread::JoinHandle};

use tokio::sync::{mpsc, oneshot};

use self::{
    job::{Closure, Job},
    thread::{Message, Reading},
};
use crate::{Error, Options, Tx, db::Surroundings};

/// How many transactions may wait for each kind of thread.
const QUEUE: usize = 1024;

pub(crate) struct SqliteStore {
    writer: mpsc::Sender<Message>,
    readers: mpsc::Sender<Message>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl SqliteStore {
    pub(crate) async fn open(
        path: &Path,
        options: &Options,
        around: Surroundings,
    ) -> Result<Self, Error> {
        let (path, options) = (path.to_owned(), options.clone());
        let opening = move || {
            // The writer comes first: it makes the file and switches it to a write-ahead log.
            let connection = session::open_writer(&path, &options)?;
            let (writer, queue) = mpsc::channel(QUEUE);
            let mut threads = vec![thread::start_writer(connection, queue, around.clone())?];
            let (readers, queue) = mpsc::channel(QUEUE);
            let queue = Reading::new(queue);
            for number in 0..options.readers.max(1) {
                let connection = session::open_reader(&path, &options)?;
                threads.push(thread::start_reader(
                    number,
                    connection,
                    queue.clone(),
                    around.clone(),
                )?);
            }
            Ok(Self {
                writer,
                readers,
                threads: Mutex::new(threads),
            })
        };
        tokio::task::spawn_blocking(opening)
            .await
            .map_err(|it| Error::unavailable("opening the file", it))?
    }

    pub(crate) async fn write<T, E, F>(&self, name: &'static str, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        submit(&self.writer, name, f).await
    }

    pub(crate) async fn read<T, E, F>(&self, name: &'static str, f: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        submit(&self.readers, name, f).await
    }

    pub(crate) async fn close(&self) {
        // A queue that is gone already has no one to stop.
        let _ = self.writer.send(Message::Stop).await;
        let _ = self.readers.send(Message::Stop).await;
        let threads = std::mem::take(
            &mut *self
                .threads
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
        let joined =
            tokio::task::spawn_blocking(move || threads.into_iter().all(|it| it.join().is_ok()))
                .await;
        if !matches!(joined, Ok(true)) {
            tracing::error!("a database thread ended by a panic");
        }
    }
}

async fn submit<T, E, F>(queue: &mpsc::Sender<Message>, name: &'static str, f: F) -> Result<T, E>
where
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: From<Error> + Send + 'static,
{
    let (answer, answered) = oneshot::channel();
    let job: Box<dyn Job> = Box::new(Closure::new(name, f, answer));
    queue
        .send(Message::Run(job))
        .await
        .map_err(|_| Error::Closed)?;
    answered.await.map_err(|_| E::from(Error::Closed))?
}
