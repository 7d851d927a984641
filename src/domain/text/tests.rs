use super::*;

fn name(text: &str) -> Result<Name, Invalid> {
    Name::new("name", text.to_owned())
}

#[test]
fn names_of_every_writing_are_taken() {
    for text in [
        "Ada",
        "O'Brien-Smith, Jr.",
        "\u{645}\u{62d}\u{645}\u{62f}",
        "\u{5d3}\u{5d5}\u{5d3}",
        "\u{6f22}\u{5b57}",
        // A joiner between letters changes how they look, and nothing else.
        "\u{915}\u{94d}\u{200d}\u{937}",
        "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        " .",
        "\u{2801}",
    ] {
        assert!(name(text).is_ok(), "{text:?}");
    }
}

#[test]
fn a_name_turns_no_direction_and_breaks_no_line_and_a_note_may() {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}'].into_iter();
    let turns = turns.chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
    let (turns, breaks) = (turns.collect::<Vec<_>>(), ['\u{2028}', '\u{2029}']);
    let refused: Vec<char> = ('\0'..=char::MAX)
        .filter(|character| !character.is_control() && name(&format!("a{character}b")).is_err())
        .collect();
    let mut wanted = [&turns[..], &breaks[..]].concat();
    wanted.sort_unstable();
    assert_eq!(refused, wanted, "these, and no other");
    for character in wanted {
        assert!(Note::new("note", format!("a{character}b")).is_ok(), "{character:?}");
    }
}

#[test]
fn a_name_can_be_seen() {
    for character in [
        ' ',
        '\u{a0}',
        '\u{ad}',
        '\u{115f}',
        '\u{1680}',
        '\u{180e}',
        '\u{2003}',
        '\u{200b}',
        '\u{200d}',
        '\u{2060}',
        '\u{2800}',
        '\u{3000}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{feff}',
        '\u{ffa0}',
        '\u{fff9}',
        '\u{e0041}',
        '\u{e0100}',
    ] {
        let blank = character.to_string().repeat(3);
        assert!(name(&blank).is_err(), "{character:?}");
        assert!(name(&format!("{blank}x")).is_ok(), "{character:?}");
    }
}
