#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use super::*;

fn asked(text: &str) -> Duration {
    let headers = [(RETRY_AFTER, text.parse().unwrap())].into_iter().collect();
    retry_after(&headers)
}

#[test]
fn a_receiver_can_ask_for_a_pause_of_a_day_at_most() {
    assert_eq!(asked("120"), Duration::from_mins(2));
    assert_eq!(asked("99999999999"), RETRY_AFTER_MAX);
    assert_eq!(asked("Fri, 31 Dec 9999 23:59:59 GMT"), RETRY_AFTER_MAX);
    assert_eq!(asked("Sun, 06 Nov 1994 08:49:37 GMT"), Duration::ZERO);
    for nothing in ["", "soon", "-1", "1.5"] {
        assert_eq!(asked(nothing), Duration::ZERO, "{nothing}");
    }
    let soon = OffsetDateTime::now_utc() + Duration::from_mins(10);
    let text = soon.format(&Rfc2822).unwrap().replace("+0000", "GMT");
    assert!(asked(&text) > Duration::from_mins(9) && asked(&text) <= Duration::from_mins(10));
}
