//! Hears of other processes' events: one connection that listens, made again whenever it is lost.

use std::time::Duration;

use futures_util::{StreamExt, stream::poll_fn};
use tokio_postgres::{AsyncMessage, Config, NoTls};
use tokio_util::sync::CancellationToken;

use crate::{event_log::CHANNEL, signal::Bell};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Rings the bell for every notification until `stop`.
pub(crate) async fn listen(
    config: Config,
    deadline: Duration,
    bell: Bell,
    stop: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    let reconnecting = async {
        loop {
            let began_well = hear(&config, deadline, &bell).await;
            // What was appended while nobody listened is found by looking.
            bell.ring();
            pause = if began_well {
                FIRST_PAUSE
            } else {
                pause.saturating_mul(2).min(LONGEST_PAUSE)
            };
            tokio::time::sleep(pause).await;
        }
    };
    stop.run_until_cancelled(reconnecting).await;
}

/// Listens on one connection until it is lost. Returns whether it ever listened.
async fn hear(config: &Config, deadline: Duration, bell: &Bell) -> bool {
    // A server that accepts and then keeps silent must not end the attempts.
    let connecting = tokio::time::timeout(deadline, config.connect(NoTls)).await;
    let Ok(Ok((client, mut connection))) = connecting else {
        return false;
    };
    let mut messages = poll_fn(move |context| connection.poll_message(context));
    let subscribe = format!("LISTEN {CHANNEL}");
    let mut subscribing = std::pin::pin!(client.batch_execute(&subscribe));
    let mut listening = false;
    loop {
        // The connection only moves while its messages are polled, the answer to LISTEN included.
        tokio::select! {
            subscribed = &mut subscribing, if !listening => {
                if subscribed.is_err() {
                    return false;
                }
                listening = true;
                bell.ring();
            }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(_))) => bell.ring(),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return listening,
            },
        }
    }
}
