#![doc = include_str!("../README.md")]

pub mod event;
pub mod id;
pub mod job;
pub mod memory;
pub mod name;
pub mod net;
pub mod permission;
pub mod pipeline;
pub mod port;
pub mod sealing;
pub mod secret;
pub mod time;
pub mod trace;
pub mod waiting;
