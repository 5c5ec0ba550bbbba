//! One SQL text: parameters, values, errors.

use rave_store::{Constraint, Error, Row, Value, params};

use crate::{Place, on_both_engines};

on_both_engines!(
    parameters_go_by_their_numbers,
    values_survive_the_round_trip,
    parameters_that_do_not_fit_are_errors,
    constraints_are_told_apart,
    the_portable_features_work,
);

async fn parameters_go_by_their_numbers(place: Place) {
    let db = place.open().await;
    let text = db
        .read("test", |tx| {
            let sql = "SELECT CAST($2 AS TEXT) || CAST($1 AS TEXT) || CAST($2 AS TEXT) AS it";
            tx.query_one(sql, params!["a", "b"])?.text("it")
        })
        .await
        .map_err(|it: Error| it);
    assert_eq!(text.unwrap(), "bab");
}

async fn values_survive_the_round_trip(place: Place) {
    let db = place.open().await;
    let row: Row = db
        .write("test", |tx| {
            tx.execute("INSERT INTO toy_parent (id) VALUES ($1)", params![i64::MAX])?;
            let sql = "INSERT INTO toy (name, version, parent_id, ratio, body, small) VALUES ($1, $2, $3, $4, $5, $6)
                       RETURNING id, name, version, parent_id, ratio, body, small";
            tx.query_one(sql, params!["a'ä\n", true, Some(i64::MAX), 0.5, vec![0_u8, 255], 7])
        })
        .await
        .map_err(|it: Error| it)
        .unwrap();
    assert_eq!(row.int("id").unwrap(), 1);
    assert_eq!(row.text("name").unwrap(), "a'ä\n");
    assert!(row.bool("version").unwrap());
    assert_eq!(row.int("parent_id").unwrap(), i64::MAX);
    assert_eq!(row.value("ratio"), Some(&Value::Float(0.5)));
    assert_eq!(row.blob("body").unwrap(), [0, 255]);
    assert_eq!(row.int("small").unwrap(), 7);
    let none: Row = db
        .write("test", |tx| {
            let sql =
                "INSERT INTO toy (name, ratio, body) VALUES ($1, $2, $3) RETURNING ratio, body";
            tx.query_one(sql, params!["b", None::<f64>, None::<Vec<u8>>])
        })
        .await
        .map_err(|it: Error| it)
        .unwrap();
    assert_eq!(
        (none.value("ratio"), none.opt_blob("body").unwrap()),
        (Some(&Value::Null), None)
    );
}

async fn parameters_that_do_not_fit_are_errors(place: Place) {
    let db = place.open().await;
    for given in [
        &params!["a"].to_vec(),
        &params!["a", 1_i64, 2_i64].to_vec(),
        &vec![],
    ] {
        let given = given.clone();
        let sql = "INSERT INTO toy (name, version) VALUES ($1, $2)";
        let error: Error = db
            .write("test", move |tx| tx.execute(sql, &given))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Query { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("statement `{sql}` failed"));
    }
    let error: Error = db
        .read("test", |tx| tx.query("SELECT nonsense FROM toy", &[]))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Query { .. }), "{error:?}");
    let error: Error = db
        .read("test", |tx| tx.query_one("SELECT id FROM toy", &[]))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no row for `SELECT id FROM toy`");
    db.ping().await.unwrap();
}

async fn constraints_are_told_apart(place: Place) {
    let db = place.open().await;
    let insert = "INSERT INTO toy (name, version, parent_id) VALUES ($1, $2, $3)";
    let nobody = None::<i64>;
    let stored: Result<u64, Error> = db
        .write("test", move |tx| {
            tx.execute(insert, params!["a", 1_i64, nobody])
        })
        .await;
    assert_eq!(stored.unwrap(), 1);
    let cases = [
        (params!["a", 1_i64, nobody].to_vec(), Constraint::Unique),
        (params!["b", -1_i64, nobody].to_vec(), Constraint::Check),
        (params!["b", 1_i64, 99_i64].to_vec(), Constraint::ForeignKey),
        (
            params![None::<String>, 1_i64, nobody].to_vec(),
            Constraint::NotNull,
        ),
    ];
    for (values, expected) in cases {
        let error: Error = db
            .write("test", move |tx| tx.execute(insert, &values))
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Constraint { constraint, .. } if constraint == expected),
            "{error:?}"
        );
        assert_eq!(error.is_unique(), expected == Constraint::Unique);
    }
}

async fn the_portable_features_work(place: Place) {
    let db = place.open().await;
    let row: Row = db
        .write("test", |tx| {
            for name in ["a", "b", "b", "c"] {
                let sql = "INSERT INTO toy (name) VALUES ($1)
                           ON CONFLICT (name) DO UPDATE SET version = toy.version + 1";
                tx.execute(sql, params![name])?;
            }
            tx.execute("UPDATE toy SET small = it.n FROM (SELECT 3 AS n) AS it WHERE name = 'a'", &[])?;
            let sql = "WITH RECURSIVE up(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 3)
                       SELECT CAST(sum(version) AS BIGINT) AS total, count(*) FILTER (WHERE version = 0) AS fresh,
                              (SELECT max(n) FROM up) AS top, max(small) AS small
                       FROM toy";
            tx.query_one(sql, &[])
        })
        .await
        .map_err(|it: Error| it)
        .unwrap();
    assert_eq!(row.int("total").unwrap(), 1);
    assert_eq!(row.int("fresh").unwrap(), 2);
    assert_eq!(row.int("top").unwrap(), 3);
    assert_eq!(row.int("small").unwrap(), 3);
}
