//! A runner's account on its server, for commands that run no jobs.

use crate::client::lifecycle::{Account, Registration};
use crate::client::{Client, ClientError};
use crate::config::{ConfigError, RunnerConfig};

/// Speaks to a server about one runner.
#[derive(Debug)]
pub struct Registrar(Client);

impl Registrar {
    /// Prepares to speak about the runner that a configuration is for. Makes no directories.
    ///
    /// # Errors
    /// When the address is no HTTP address, or the certificates are none.
    pub fn new(config: &RunnerConfig) -> Result<Self, ConfigError> {
        Client::new(config).map(Self)
    }

    /// Makes a runner by a registration token, which the configuration has for a token.
    ///
    /// # Errors
    /// When the server refuses, or does not answer.
    pub async fn register(&self, registration: &Registration) -> Result<Account, ClientError> {
        self.0.register(registration).await
    }

    /// Asks whether the server knows the runner's token.
    ///
    /// # Errors
    /// When it does not, or does not answer.
    pub async fn verify(&self) -> Result<Account, ClientError> {
        self.0.verify().await
    }

    /// Gets another token in place of the one that the configuration has.
    ///
    /// # Errors
    /// When the server refuses, or does not answer.
    pub async fn reset_token(&self) -> Result<Account, ClientError> {
        self.0.reset_token().await
    }

    /// Takes this machine away from the runner; a runner that registered itself goes altogether.
    ///
    /// # Errors
    /// When the server refuses, or does not answer.
    pub async fn unregister(&self) -> Result<(), ClientError> {
        self.0.unregister().await
    }
}
