//! The bare loop that a cached run is compared with: looks every stored answer up again, 256 keys at a time, with
//! the statement that `src/store/answers.rs` uses, and does nothing with what it finds.
//!
//! usage: selects ratings.db; prints how many were found, and look-ups per second.

#![expect(clippy::print_stdout, reason = "the figure on stdout is what run.sh reads")]

use std::time::Instant;

use anyhow::{Context, ensure};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

/// As in the program.
const BATCH: usize = 256;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).context("usage: selects ratings.db")?;
    let options = SqliteConnectOptions::new().filename(&path).pragma("cache_size", "-4096");
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let first = sqlx::query("SELECT lens, model, version, sample FROM slots LIMIT 1")
        .fetch_optional(&mut connection)
        .await?
        .context("the store has no answers")?;
    let (lens, model): (String, String) = (first.try_get(0)?, first.try_get(1)?);
    let (version, sample): (i64, i64) = (first.try_get(2)?, first.try_get(3)?);
    // In the order in which they were asked, as a cached run looks them up, not in the order of the index.
    let inputs: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT input FROM answers ORDER BY rowid").fetch_all(&mut connection).await?;
    // Reading the keys has warmed this connection's cache: the look-ups begin with a cold one, as the program does.
    connection.close().await?;
    let mut connection = SqliteConnection::connect_with(&options).await?;

    let find = format!(
        "SELECT input, scores, rationales, model_reported, finish_reason, tokens_in, tokens_cached, tokens_out, cost, \
         latency_ms, attempts, answered_at FROM answers WHERE slot = \
         (SELECT id FROM slots WHERE lens = ? AND model = ? AND version = ? AND sample = ?) AND input IN (?{})",
        ",?".repeat(BATCH - 1)
    );
    let start = Instant::now();
    let mut found = 0;
    for batch in inputs.chunks(BATCH) {
        let mut query =
            sqlx::query(AssertSqlSafe(find.as_str())).bind(&lens).bind(&model).bind(version).bind(sample);
        for place in 0..BATCH {
            query = query.bind(&batch[place.min(batch.len() - 1)][..]);
        }
        found += query.fetch_all(&mut connection).await?.len();
    }
    let per_second = found as f64 / start.elapsed().as_secs_f64();
    ensure!(found == inputs.len(), "found {found} of {}", inputs.len());
    println!("{found} {per_second:.0}");
    Ok(())
}
