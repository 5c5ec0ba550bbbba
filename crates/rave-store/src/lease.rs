//! Leases: which of several processes does a piece of work. A holder that dies loses its lease with time.

use crate::{Error, Tx, params};

impl Tx<'_> {
    /// Takes or renews the lease `name` for `ttl_ms`. Returns whether `holder` has it now.
    ///
    /// Expiry is measured by the clocks of the processes: the time to live must be far above their difference. A
    /// lease makes double work rare; what must never happen twice also compares before it sets.
    pub fn try_lease(&mut self, name: &str, holder: &str, ttl_ms: i64) -> Result<bool, Error> {
        let sql = "INSERT INTO lease (name, holder, expires_at) VALUES ($1, $2, $3)
                   ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
                   WHERE lease.holder = excluded.holder OR lease.expires_at <= $4";
        let now = self.now();
        Ok(self.execute(sql, params![name, holder, now.plus_millis(ttl_ms), now])? == 1)
    }

    /// Gives the lease up, so that another holder need not wait. Returns whether `holder` had it.
    pub fn release_lease(&mut self, name: &str, holder: &str) -> Result<bool, Error> {
        Ok(self.execute(
            "DELETE FROM lease WHERE name = $1 AND holder = $2",
            params![name, holder],
        )? == 1)
    }

    /// Ends every lease of a holder that is known to be dead, so that its successor need not wait for them to expire.
    /// Returns how many there were.
    pub fn release_leases_of(&mut self, holder: &str) -> Result<u64, Error> {
        self.execute("DELETE FROM lease WHERE holder = $1", params![holder])
    }
}
