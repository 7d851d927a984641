//! `RESULTS.md`: text by hand, and sections that the commands write.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use time::OffsetDateTime;

use crate::stand::{SCRIPTS, Setting};

/// Replaces the section of a command, and nothing else.
pub fn write(command: &str, section: &str) -> Result<()> {
    let path = Path::new(SCRIPTS).join("RESULTS.md");
    let text = fs::read_to_string(&path)?;
    let text = replaced(&text, command, section)
        .with_context(|| format!("RESULTS.md has no section for {command}"))?;
    fs::write(&path, text)?;
    println!("Written to bench/RESULTS.md.");
    Ok(())
}

/// Puts a picture beside `RESULTS.md`.
pub fn write_picture(name: &str, svg: &str) -> Result<()> {
    fs::write(Path::new(SCRIPTS).join(name), svg)?;
    println!("Written to bench/{name}.");
    Ok(())
}

fn replaced(text: &str, command: &str, section: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {command}: begin -->"), format!("<!-- {command}: end -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", section.trim()))
}

/// Under which circumstances: the first lines of a section.
pub fn circumstances(command: &str, setting: &Setting) -> String {
    let Setting { postgres, settings, cores, processor, sync_ms } = setting;
    let settings: Vec<String> =
        settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let today = OffsetDateTime::now_utc().date();
    format!(
        "`{command}` on {today}, payonce {}, {postgres}, {cores} cores ({processor}) shared \
         with the load generator. The disk takes {sync_ms:.2} ms for a page (write and fdatasync, median).\n\
         Settings: {}.\n",
        env!("CARGO_PKG_VERSION"),
        settings.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_and_nothing_else() {
        let text = "# A\n<!-- make x: begin -->\nold\n<!-- make x: end -->\n## B\n";
        let new = replaced(text, "make x", "new\n");
        let expected = "# A\n<!-- make x: begin -->\n\nnew\n\n<!-- make x: end -->\n## B\n";
        assert_eq!(new.as_deref(), Some(expected));
        assert_eq!(replaced(expected, "make x", "new").as_deref(), Some(expected));
        assert_eq!(replaced(text, "make y", "new"), None);
    }
}
