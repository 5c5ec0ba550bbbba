//! What goes into a statement and what comes out: parameters, rows and their conversions.

use std::sync::Arc;

use rave_core::time::Timestamp;

use crate::Error;

/// A value that both engines store alike. Truth is 0 or 1, time is UTC milliseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Float(f64),
    Text(String),
    Blob(Vec<u8>),
}

macro_rules! value_from {
    ($($from:ty => |$it:ident| $value:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($it: $from) -> Self {
                $value
            }
        }
    )*};
}

value_from! {
    i64 => |it| Self::Int(it);
    i32 => |it| Self::Int(it.into());
    u32 => |it| Self::Int(it.into());
    u16 => |it| Self::Int(it.into());
    bool => |it| Self::Int(it.into());
    f64 => |it| Self::Float(it);
    &str => |it| Self::Text(it.to_owned());
    String => |it| Self::Text(it);
    &String => |it| Self::Text(it.clone());
    Vec<u8> => |it| Self::Blob(it);
    &[u8] => |it| Self::Blob(it.to_vec());
    Timestamp => |it| Self::Int(it.0);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(it: Option<T>) -> Self {
        it.map_or(Self::Null, Into::into)
    }
}

/// Makes the parameters of a statement: the first is `$1`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::Value::from($value)),*] as &[$crate::Value] };
}

/// One row of a result; columns go by their names.
#[derive(Clone, Debug)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

/// Declares a getter and its optional sibling, which gives `None` for `NULL`.
macro_rules! getters {
    ($($name:ident, $opt:ident -> $type:ty: $expected:literal, |$it:ident| $pattern:pat => $value:expr;)*) => {$(
        #[doc = concat!("Returns the column as ", $expected, ".")]
        pub fn $name(&self, column: &str) -> Result<$type, Error> {
            match self.value(column) {
                Some($pattern) => Ok($value),
                _ => Err(Error::Column { column: column.to_owned(), expected: $expected }),
            }
        }

        #[doc = concat!("Returns the column as ", $expected, ", or `None` when it is `NULL`.")]
        pub fn $opt(&self, column: &str) -> Result<Option<$type>, Error> {
            match self.value(column) {
                Some(Value::Null) => Ok(None),
                _ => self.$name(column).map(Some),
            }
        }
    )*};
}

impl Row {
    pub(crate) fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// Returns the column's value, if the row has the column.
    #[must_use]
    pub fn value(&self, column: &str) -> Option<&Value> {
        let index = self.columns.iter().position(|it| it == column)?;
        self.values.get(index)
    }

    getters! {
        int, opt_int -> i64: "an integer", |it| Value::Int(it) => *it;
        bool, opt_bool -> bool: "a truth value", |it| Value::Int(it @ (0 | 1)) => *it == 1;
        time, opt_time -> Timestamp: "a time", |it| Value::Int(it) => Timestamp(*it);
        text, opt_text -> String: "text", |it| Value::Text(it) => it.clone();
        blob, opt_blob -> Vec<u8>: "bytes", |it| Value::Blob(it) => it.clone();
    }

    /// Returns the column as a floating point number.
    pub fn float(&self, column: &str) -> Result<f64, Error> {
        match self.value(column) {
            Some(Value::Float(it)) => Ok(*it),
            #[expect(
                clippy::cast_precision_loss,
                reason = "SQLite gives whole numbers of a REAL expression as integers"
            )]
            Some(Value::Int(it)) => Ok(*it as f64),
            _ => Err(Error::Column {
                column: column.to_owned(),
                expected: "a number",
            }),
        }
    }

    /// Returns the column as a floating point number, or `None` when it is `NULL`.
    pub fn opt_float(&self, column: &str) -> Result<Option<f64>, Error> {
        match self.value(column) {
            Some(Value::Null) => Ok(None),
            _ => self.float(column).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_convert_or_say_why_not() {
        let columns: Arc<[String]> = ["n", "t", "b", "z"].map(String::from).into();
        let values = params![7_i64, "x", true, None::<i64>].to_vec();
        let row = Row::new(columns, values);
        assert_eq!(row.int("n").unwrap(), 7);
        assert_eq!(row.opt_int("z").unwrap(), None);
        assert_eq!(row.opt_float("z").unwrap(), None);
        assert_eq!(row.opt_float("n").unwrap(), Some(7.0));
        assert_eq!(row.text("t").unwrap(), "x");
        assert!(row.bool("b").unwrap());
        assert_eq!(row.time("n").unwrap(), Timestamp(7));
        assert_eq!(
            row.int("t").unwrap_err().to_string(),
            "column `t` is not an integer"
        );
        assert_eq!(
            row.bool("n").unwrap_err().to_string(),
            "column `n` is not a truth value"
        );
        assert_eq!(
            row.text("missing").unwrap_err().to_string(),
            "column `missing` is not text"
        );
        assert_eq!(
            row.int("z").unwrap_err().to_string(),
            "column `z` is not an integer"
        );
    }
}
