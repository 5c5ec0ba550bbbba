//! Values to and from PostgreSQL's binary format, by the type that the server inferred.

use std::sync::Arc;

use bytes::BytesMut;
use tokio_postgres::{
    Column,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};

use crate::{BoxError, Error, Row, Value};

/// A parameter; its encoding depends on where it stands in the statement.
#[derive(Debug)]
pub(crate) struct Parameter<'a>(pub(crate) &'a Value);

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self.0 {
            Value::Null => Ok(IsNull::Yes),
            Value::Int(it) => int_to_sql(*it, ty, out),
            Value::Float(it) => match *ty {
                #[expect(clippy::cast_possible_truncation, reason = "the column is that narrow")]
                Type::FLOAT4 => (*it as f32).to_sql(ty, out),
                Type::FLOAT8 => it.to_sql(ty, out),
                _ => Err(mismatch("a number", ty)),
            },
            Value::Text(it) if <&str as ToSql>::accepts(ty) => it.to_sql(ty, out),
            Value::Text(_) => Err(mismatch("text", ty)),
            Value::Blob(it) if *ty == Type::BYTEA => it.to_sql(ty, out),
            Value::Blob(_) => Err(mismatch("bytes", ty)),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn int_to_sql(value: i64, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
    match *ty {
        Type::INT8 => value.to_sql(ty, out),
        Type::INT4 => i32::try_from(value)?.to_sql(ty, out),
        Type::INT2 => i16::try_from(value)?.to_sql(ty, out),
        Type::BOOL => match value {
            0 | 1 => (value == 1).to_sql(ty, out),
            _ => Err(mismatch("an integer", ty)),
        },
        #[expect(
            clippy::cast_precision_loss,
            reason = "whole numbers stand for floating point ones"
        )]
        Type::FLOAT8 => (value as f64).to_sql(ty, out),
        _ => Err(mismatch("an integer", ty)),
    }
}

fn mismatch(what: &str, ty: &Type) -> BoxError {
    format!("{what} was given for a parameter of type {ty}").into()
}

/// Converts rows, all of one statement.
pub(crate) fn rows_of(sql: &str, rows: &[tokio_postgres::Row]) -> Result<Vec<Row>, Error> {
    let Some(first) = rows.first() else {
        return Ok(Vec::new());
    };
    let columns: Arc<[String]> = first
        .columns()
        .iter()
        .map(|it| it.name().to_owned())
        .collect();
    rows.iter()
        .map(|row| {
            let values = row
                .columns()
                .iter()
                .enumerate()
                .map(|(index, column)| value_of(row, index, column));
            let values = values
                .collect::<Result<_, _>>()
                .map_err(|it| Error::query(sql, it))?;
            Ok(Row::new(columns.clone(), values))
        })
        .collect()
}

fn value_of(row: &tokio_postgres::Row, index: usize, column: &Column) -> Result<Value, BoxError> {
    match *column.type_() {
        Type::INT8 => get(row, index, Value::Int),
        Type::INT4 => get(row, index, |it: i32| Value::Int(it.into())),
        Type::INT2 => get(row, index, |it: i16| Value::Int(it.into())),
        Type::BOOL => get(row, index, |it: bool| Value::Int(it.into())),
        Type::FLOAT8 => get(row, index, Value::Float),
        Type::FLOAT4 => get(row, index, |it: f32| Value::Float(it.into())),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
            get(row, index, Value::Text)
        }
        Type::BYTEA => get(row, index, Value::Blob),
        ref ty => Err(format!(
            "column `{}` has type {ty}: cast it to BIGINT or TEXT",
            column.name()
        )
        .into()),
    }
}

fn get<'a, T: FromSql<'a>>(
    row: &'a tokio_postgres::Row,
    index: usize,
    value: impl FnOnce(T) -> Value,
) -> Result<Value, BoxError> {
    Ok(row
        .try_get::<_, Option<T>>(index)?
        .map_or(Value::Null, value))
}
