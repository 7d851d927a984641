#![expect(
    clippy::unwrap_used,
    reason = "a test that meets something unexpected is to fail on the spot"
)]

use super::*;

#[test]
fn a_stream_that_has_followed_another_feed_gets_no_channel_of_this_one() {
    let streams = Arc::new(Streams::new(&config::Live::default()));
    let account = AccountId::BANK;
    let (catching_up, needs_reader) = streams.enter(account).unwrap();
    assert!(needs_reader);
    streams.hand_out(Vec::new(), Position::trusted(5_000));
    let (taking_part, _) = streams.enter(account).unwrap();
    let (mut channel, _) = taking_part.connect().unwrap();
    streams.cut_off();
    assert!(channel.try_recv().is_err() && channel.is_closed());
    let (early, _) = streams.enter(account).unwrap();
    assert!(early.connect().is_none(), "where the other one ended says nothing of this one");
    // The reader has found the end of this one.
    streams.hand_out(Vec::new(), Position::trusted(4_000));
    assert!(catching_up.connect().is_none() && taking_part.connect().is_none());
    let (new, _) = streams.enter(account).unwrap();
    assert_eq!(new.connect().unwrap().1, Position::trusted(4_000));
}
