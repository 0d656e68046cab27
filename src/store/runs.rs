//! Runs: what each meant, when it began, what came of it, and a few excerpts of its rows.

use sqlx::Row;

use super::{Error, Prune, Store, now};
use crate::rating::excerpt::Excerpt;
use crate::rating::run::{Meaning, Outcome, Run};

/// The runs that the store knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Runs {
    /// In the order of their beginning.
    pub runs: Vec<Run>,
    /// How many more there are, of which this version of the program cannot read what they meant or what came of them.
    pub unreadable: u64,
}

impl Store {
    /// Notes that a run begins; returns its id.
    pub async fn begin(&self, meaning: &Meaning) -> Result<i64, Error> {
        let meaning_json = serde_json::to_string(meaning).unwrap_or_default();
        let done = sqlx::query("INSERT INTO runs (digest, meaning, started_at) VALUES (?, ?, ?)")
            .bind(&meaning.digest().0[..])
            .bind(meaning_json)
            .bind(now())
            .execute(&self.read)
            .await?;
        Ok(done.last_insert_rowid())
    }

    /// Notes how a run ended, with the excerpts of its rows: both or neither.
    pub async fn finish(&self, run: i64, outcome: &Outcome, excerpts: &[Excerpt]) -> Result<(), Error> {
        // Numbers and strings have no way to fail.
        let outcome = serde_json::to_string(outcome).unwrap_or_default();
        let mut transaction = self.read.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("UPDATE runs SET finished_at = ?, outcome = ? WHERE id = ?")
            .bind(now())
            .bind(outcome)
            .bind(run)
            .execute(&mut *transaction)
            .await?;
        for (place, excerpt) in (0_i64..).zip(excerpts) {
            sqlx::query("INSERT OR REPLACE INTO excerpts (run, place, excerpt) VALUES (?, ?, ?)")
                .bind(run)
                .bind(place)
                .bind(serde_json::to_string(excerpt).unwrap_or_default())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }

    /// All runs, without their excerpts.
    pub async fn runs(&self) -> Result<Runs, Error> {
        let rows = sqlx::query(
            "SELECT id, meaning, started_at, finished_at, outcome FROM runs ORDER BY started_at, id",
        )
        .fetch_all(&self.read)
        .await?;
        let mut runs = Runs::default();
        for row in rows {
            let meaning = serde_json::from_str::<Meaning>(row.try_get(1)?);
            let finished: Option<i64> = row.try_get(3)?;
            let outcome: Option<&str> = row.try_get(4)?;
            let outcome = match (finished, outcome.map(serde_json::from_str::<Outcome>)) {
                (Some(_), Some(Ok(outcome))) => Ok(Some(outcome)),
                (None, _) => Ok(None),
                (Some(_), _) => Err(()),
            };
            let (Ok(meaning), Ok(outcome)) = (meaning, outcome) else {
                runs.unreadable += 1;
                continue;
            };
            let (id, began) = (Some(row.try_get(0)?), row.try_get(2)?);
            runs.runs.push(Run { id, meaning, began, outcome, excerpts: Vec::new() });
        }
        Ok(runs)
    }

    /// The excerpts of a run's rows, in their order.
    pub async fn excerpts(&self, run: i64) -> Result<Vec<Excerpt>, Error> {
        let texts: Vec<String> =
            sqlx::query_scalar("SELECT excerpt FROM excerpts WHERE run = ? ORDER BY place")
                .bind(run)
                .fetch_all(&self.read)
                .await?;
        // One that a newer version wrote in another form is none.
        Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }

    /// Removes the excerpts of the runs that rated what is pruned.
    pub(super) async fn prune_excerpts(&self, prune: &Prune) -> Result<(), Error> {
        sqlx::query(
            "DELETE FROM excerpts WHERE run IN (SELECT id FROM runs WHERE (?1 IS NULL OR meaning ->> 'lens' = ?1) \
             AND (?2 IS NULL OR meaning ->> 'model' = ?2) AND (?3 IS NULL OR meaning ->> 'version' = ?3) \
             AND (?4 IS NULL OR started_at < ?4))",
        )
        .bind(&prune.lens)
        .bind(&prune.model)
        .bind(prune.version)
        .bind(prune.before)
        .execute(&self.read)
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::rating::excerpt::Kind;
    use crate::rating::run::{Ended, How, Sample};

    fn meaning(lens: &str) -> Meaning {
        Meaning {
            command: "summary".into(),
            dataset: "rows.jsonl".into(),
            config: None,
            revision: None,
            split: None,
            columns: vec!["text".into()],
            drawn: None,
            sample: Sample::All,
            lens: lens.into(),
            lens_digest: "00".into(),
            model: "heuristic".into(),
            version: 1,
            sampling: Map::new(),
            chunks: [1500, 2, 100],
            lines: Map::new(),
        }
    }

    fn excerpt(id: &str) -> Excerpt {
        Excerpt {
            kinds: vec![Kind::Best],
            id: id.into(),
            text: "<b>\u{1b}[31m".into(),
            scores: vec![2.5],
            verdict: None,
            rationale: "because".into(),
            spread: 0.5,
        }
    }

    fn outcome() -> Outcome {
        Outcome { ended: Some(Ended { how: How::Complete, exit: 0 }), ..Outcome::default() }
    }

    async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("ratings.db").display().to_string()).await.unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn runs_come_back_with_what_came_of_them_and_one_that_was_killed_without() {
        let (_folder, store) = store().await;
        let (first, second) =
            (store.begin(&meaning("a")).await.unwrap(), store.begin(&meaning("b")).await.unwrap());
        store.finish(first, &outcome(), &[excerpt("r#1"), excerpt("r#2")]).await.unwrap();
        let known = store.runs().await.unwrap();
        assert_eq!((known.runs.len(), known.unreadable), (2, 0));
        assert_eq!((known.runs[0].id, &known.runs[0].outcome), (Some(first), &Some(outcome())));
        assert_eq!((known.runs[1].id, &known.runs[1].outcome), (Some(second), &None));
        assert_eq!(store.excerpts(first).await.unwrap(), [excerpt("r#1"), excerpt("r#2")]);
    }

    #[tokio::test]
    async fn what_an_older_version_recorded_is_read_and_what_is_not_understood_is_counted() {
        let (_folder, store) = store().await;
        let old = r#"{"ledger":{"rows":3,"rated":3,"cached":0,"duplicate":0,"failed":{},"empty":0,"not_reached":0},"cost":null}"#;
        for outcome in [Some(old), Some("{\"ledger\":7}"), None] {
            let run = store.begin(&meaning("a")).await.unwrap();
            sqlx::query("UPDATE runs SET finished_at = 1, outcome = ? WHERE id = ?")
                .bind(outcome)
                .bind(run)
                .execute(&store.read)
                .await
                .unwrap();
        }
        let known = store.runs().await.unwrap();
        assert_eq!((known.runs.len(), known.unreadable), (1, 2));
        assert!(known.runs[0].outcome.as_ref().unwrap().is_complete());
    }

    #[tokio::test]
    async fn a_database_of_before_excerpts_is_brought_up_to_date_with_its_runs() {
        let (folder, store) = store().await;
        store.begin(&meaning("a")).await.unwrap();
        // As the first version of the program left it.
        for statement in [
            "DROP TABLE excerpts",
            "DROP TABLE batch_questions",
            "DROP TABLE batches",
            "DROP TABLE batch_lessons",
            "DELETE FROM _sqlx_migrations WHERE version > 1",
        ] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&store.read).await.unwrap();
        }
        store.close().await.unwrap();
        let store = Store::open(&folder.path().join("ratings.db").display().to_string()).await.unwrap();
        let runs = store.runs().await.unwrap().runs;
        assert_eq!(runs.len(), 1);
        store.finish(runs[0].id.unwrap(), &outcome(), &[excerpt("r#1")]).await.unwrap();
    }

    #[tokio::test]
    async fn pruning_ratings_takes_the_excerpts_of_their_runs_along() {
        let (_folder, store) = store().await;
        let mut ids = Vec::new();
        for lens in ["a", "b"] {
            let run = store.begin(&meaning(lens)).await.unwrap();
            store.finish(run, &outcome(), &[excerpt("r#1")]).await.unwrap();
            ids.push(run);
        }
        store.prune(&Prune { lens: Some("a".into()), version: Some(1), ..Prune::default() }).await.unwrap();
        assert!(store.excerpts(ids[0]).await.unwrap().is_empty());
        assert_eq!(store.excerpts(ids[1]).await.unwrap().len(), 1);
        store.prune(&Prune { before: Some(0), ..Prune::default() }).await.unwrap();
        assert_eq!(store.excerpts(ids[1]).await.unwrap().len(), 1, "it is younger");
    }
}
