//! The services of a job: containers in a network of the job's own, which the job reaches by their names.

use std::net::IpAddr;

use serde_json::json;

use super::session::ContainerSession;
use super::{Containers, ready, system};
use crate::exec::wanted::Wanted;
use crate::exec::{Setup, SetupError};
use crate::image::JobCredentials;
use crate::trace::Tone;

/// How much of the log of a service that does not answer is shown.
const SHOWN_LINES: u32 = 20;

impl Containers {
    /// Starts all services and waits for them. Returns the host entries of the job's container, `name:address`.
    pub(super) async fn start_services(
        &self,
        session: &mut ContainerSession,
        name: &str,
        services: &[Wanted],
        credentials: &JobCredentials,
        setup: &Setup<'_>,
    ) -> Result<Vec<String>, SetupError> {
        if services.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(network) = self.policy.network.as_deref().filter(|it| *it != "bridge") {
            let text = format!(
                "the job has services, which need a network of their own, but the runner's containers use the network {network:?}"
            );
            return Err(SetupError::Configuration(text));
        }
        let created = self.engine.create_network(name, &self.labels()).await;
        created.map_err(system)?;
        session.add_network(name.to_owned());
        let mut hosts = Vec::new();
        let mut waiting = Vec::new();
        for (number, service) in services.iter().enumerate() {
            let config = self.ensure(service, credentials, setup).await?;
            let mut spec = self.common(service, setup.limits);
            if let Some(command) = &service.command {
                spec["Cmd"] = json!(command);
            }
            spec["HostConfig"]["NetworkMode"] = json!(name);
            spec["HostConfig"]["Privileged"] = json!(self.policy.privileged_services);
            spec["HostConfig"]["ExtraHosts"] = json!(hosts);
            let id = self
                .engine
                .create(&format!("{name}-service-{number}"), &spec)
                .await
                .map_err(system)?;
            session.add_service(id.clone());
            self.engine.start(&id).await.map_err(system)?;
            let status = self.engine.status(&id).await.map_err(system)?;
            let address: Option<IpAddr> = status.addresses.iter().find_map(|it| it.parse().ok());
            let Some(address) = address else {
                // One that has ended already has none. Its log is complete when the engine knows of its end.
                if !status.running {
                    self.engine.wait(&id).await.map_err(system)?;
                }
                let text = format!(
                    "the service {} has ended, or has no address; going on without",
                    service.name
                );
                self.warn(setup, &text, &id).await;
                continue;
            };
            hosts.extend(service.aliases.iter().map(|it| format!("{it}:{address}")));
            let ports = ready::ports(
                service.variable("HEALTHCHECK_TCP_PORT"),
                &config.exposed_ports,
            );
            if !ports.is_empty() && !self.patience.is_zero() {
                waiting.push((service, id, address, ports));
            }
        }
        if !waiting.is_empty() {
            let text = "Waiting for services to be up and running ...";
            setup.trace.line(Tone::Plain, text);
            setup.trace.flush();
        }
        let waits = waiting.iter().map(|(service, id, address, ports)| async move {
            let why = tokio::select! {
                ready = ready::wait(*address, ports, self.patience) => {
                    if !ready {
                        format!("within {} seconds", self.patience.as_secs())
                    } else if self.engine.status(id).await.is_ok_and(|it| !it.running) {
                        // Something else answers for the address that it had.
                        "and has ended".to_owned()
                    } else {
                        return;
                    }
                }
                // Whatever the engine answers, the service is not running any more.
                _ = self.engine.wait(id) => "and has ended".to_owned(),
            };
            let text = format!(
                "the service {} took no connection on the ports {ports:?} {why}; going on without",
                service.name
            );
            self.warn(setup, &text, id).await;
        });
        futures_util::future::join_all(waits).await;
        Ok(hosts)
    }

    /// Writes a warning with the end of a service's log.
    async fn warn(&self, setup: &Setup<'_>, text: &str, id: &str) {
        setup.trace.line(Tone::Warning, &format!("WARNING: {text}"));
        // The log is a help only; the warning is there without it.
        if let Ok(log) = self.engine.last_lines(id, SHOWN_LINES).await {
            setup.trace.write(&log);
        }
        setup.trace.flush();
    }
}
