//! Stock git and HTTP requests against a server in this process, on both database engines where the database matters.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod directory;
mod fetch;
mod pages;
mod push;
mod recovery;
mod server;

/// Declares that each test runs on both engines.
#[macro_export]
macro_rules! on_both_engines {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name($crate::server::Place::sqlite()).await; })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name($crate::server::Place::postgres()).await; })+
        }
    };
}
