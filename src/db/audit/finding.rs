//! What a check finds, and how its statement tells it.

/// The findings of one check.
#[derive(Debug)]
pub struct Finding {
    pub violations: i64,
    /// The first violations, in words; [`EXAMPLES_MAX`] at most.
    pub examples: Vec<String>,
}

/// So many violations are described.
pub const EXAMPLES_MAX: usize = 10;

/// Runs a check: a query whose rows say in words what is wrong; NULL is nothing.
macro_rules! find {
    ($conn:ident, with $with:tt, $query:tt $(, $value:expr)*) => {{
        let finding = sqlx::query_as!(
            $crate::db::audit::finding::Finding,
            $with
                + "found AS ("
                + $query
                + r#")
        SELECT (SELECT count(what) FROM found) AS "violations!",
               ARRAY(SELECT what FROM found WHERE what IS NOT NULL ORDER BY what LIMIT 10)
                   AS "examples!""#,
            $($value),*
        );
        Ok(finding.fetch_one($conn).await?)
    }};
    ($conn:ident, $query:tt $(, $value:expr)*) => {
        $crate::db::audit::finding::find!($conn, with "/* audit */ WITH ", $query $(, $value)*)
    };
}
pub(super) use find;
