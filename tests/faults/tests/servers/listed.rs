//! One list of servers: the one that takes writes is found, and no other is written to, or read.

use std::net::TcpListener;

use payonce_faults::postgres::url_through;
use payonce_faults::proxy::{Proxy, Upstream};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_primary_is_found_wherever_it_stands_in_the_list_and_by_every_command() {
    let work = work();
    let (primary, standby) = pair(&work).await;
    for servers in [[&standby, &primary], [&primary, &standby]] {
        let settings = listing(&servers);
        for command in ["migrate", "audit", "prune"] {
            assert_done(&work, &settings, command);
        }
    }
    let service = service_with_accounts(&work, &listing(&[&standby, &primary])).await;
    assert_eq!(pay(&service, "k").await, 200);
    assert_eq!(balance(&service, 2).await, 1_001);
    assert_eq!(get(&service, "/health/ready").await.0, 200);
    let positions = async || Ok(get(&service, "/feed").await.1["next"] == 3);
    testbed::until("payments have positions", PATIENCE, positions).await.unwrap();
    let ours = "SELECT count(*) FROM pg_stat_activity
                WHERE application_name LIKE 'payonce%' AND application_name <> 'payonce audit'";
    assert_eq!(standby.count(ours).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_promotion_payments_go_on_and_the_former_primary_may_come_back_as_a_standby() {
    let work = work();
    let (mut first, second) = pair(&work).await;
    let settings = listing(&[&first, &second]);
    let service = service_with_accounts(&work, &settings).await;
    assert_eq!(pay(&service, "before").await, 200);
    second.until("SELECT balance = 1001 FROM accounts WHERE id = 2").await.unwrap();
    first.kill().unwrap();
    second.promote().unwrap();
    pay_in_the_end(&service, "after").await;
    assert_eq!(balance(&service, 2).await, 1_002);

    first.follow(&second, "standby").await.unwrap();
    assert_eq!(pay(&service, "with-the-standby").await, 200);
    // And back again, as when each machine gets its new kernel.
    first.until("SELECT balance = 1003 FROM accounts WHERE id = 2").await.unwrap();
    let mut second = second;
    second.kill().unwrap();
    first.promote().unwrap();
    pay_in_the_end(&service, "back-again").await;
    assert_eq!(balance(&service, 2).await, 1_004);
    assert_eq!(pay(&service, "before").await, 200, "a retry is answered with its payment");
    assert_eq!(balance(&service, 2).await, 1_004);
    let log = service.log().unwrap();
    assert_eq!(log.matches("another server is the primary").count(), 2, "{log}");
    assert_done(&work, &settings, "audit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_primary_that_comes_back_as_it_was_is_not_used_even_by_a_new_process() {
    let work = work();
    let (mut former, promoted) = pair(&work).await;
    let settings = listing(&[&former, &promoted]);
    let service = service_with_accounts(&work, &settings).await;
    promoted.until("SELECT balance = 1000 FROM accounts WHERE id = 2").await.unwrap();
    former.kill().unwrap();
    promoted.promote().unwrap();
    pay_in_the_end(&service, "k").await;
    former.start().await.unwrap();
    let new = serve(&work, &settings);
    for service in [&service, &new] {
        assert_eq!(balance(service, 2).await, 1_001);
        assert_eq!(get(service, "/health/ready").await.0, 200);
    }
    assert_eq!(former.count("SELECT balance FROM accounts WHERE id = 2").await.unwrap(), 1_000);

    // Without the new one there is none that may be used.
    let mut promoted = promoted;
    promoted.kill().unwrap();
    assert_eq!(get(&service, "/accounts/2").await.0, 503);
    assert_eq!(pay(&service, "l").await, 503);
    let log = service.log().unwrap();
    assert!(log.contains("was overtaken: it is of timeline 1"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_answer_at_all_delays_nobody_for_long() {
    let work = work();
    let (primary, standby) = pair(&work).await;
    // Connections are taken by the kernel, and nobody reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let with_silent = |role| {
        let others = url_of(&[&standby, &primary], role);
        others.replacen("?host=", "?host=127.0.0.1%2C", 1) + &format!("&port={port},5432,5432")
    };
    let settings = settings_of(with_silent(SERVICE_ROLE), with_silent("payonce"));
    for command in ["migrate", "audit", "prune"] {
        assert_done(&work, &settings, command);
    }
    let service = service_with_accounts(&work, &settings).await;
    assert_eq!(pay(&service, "k").await, 200);

    // The same where it was the primary.
    let mut primary = primary;
    standby.until("SELECT balance = 1001 FROM accounts WHERE id = 2").await.unwrap();
    let paused = primary.pause().unwrap();
    standby.promote().unwrap();
    pay_in_the_end(&service, "l").await;
    assert_eq!(balance(&service, 2).await, 1_002);
    paused.resume();
    primary.kill().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_server_will_do_the_cause_of_each_is_told() {
    let work = work();
    let (mut primary, standby) = pair(&work).await;
    let settings = listing(&[&standby, &primary]);
    let service = service_with_accounts(&work, &settings).await;
    standby.until("SELECT balance = 1000 FROM accounts WHERE id = 2").await.unwrap();
    primary.kill().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let with_nobody = |role: &str| {
        let url = url_of(&[&standby, &primary], role).replacen("?host=", "?host=127.0.0.1%2C", 1);
        format!("{url}&port={nobody},5432,5432&password=SECRET")
    };
    let with_nobody = settings_of(with_nobody(SERVICE_ROLE), with_nobody("payonce"));
    let refused =
        format!("127.0.0.1:{nobody}: error communicating with database: Connection refused");
    for command in ["serve", "migrate"] {
        let named =
            [refused.as_str(), "standby/socket:5432: it is in recovery", "home/socket:5432: "];
        assert_refused(&work, &with_nobody, command, &named);
    }
    assert_eq!(get(&service, "/accounts/1").await.0, 503, "a standby may be behind");
    assert_eq!(pay(&service, "k").await, 503);
    assert_eq!(get(&service, "/health/ready").await.0, 503);
    // It is content with what the standby has.
    assert_done(&work, &settings, "audit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_is_named_alone_is_neither_served_nor_read() {
    let work = work();
    let (primary, standby) = pair(&work).await;
    for command in ["serve", "migrate", "prune"] {
        assert_refused(&work, &listing(&[&standby]), command, &["it is in recovery"]);
    }
    assert_done(&work, &listing(&[&standby]), "audit");

    // The name leads to the standby before it is promoted.
    let wire = Proxy::start(Upstream::Unix(primary.socket()), fastrand::Rng::new()).await.unwrap();
    let settings = settings_of(url_through(wire.address), primary.owner_url());
    let service = service_with_accounts(&work, &settings).await;
    standby.until("SELECT balance = 1000 FROM accounts WHERE id = 2").await.unwrap();
    wire.lead_to(Upstream::Unix(standby.socket()));
    wire.cut_all();
    assert_eq!(get(&service, "/accounts/2").await.0, 503);
    let (status, ready) = get(&service, "/health/ready").await;
    assert_eq!(status, 503);
    assert!(ready["detail"].as_str().unwrap().contains("it is in recovery"), "{ready}");
    standby.promote().unwrap();
    pay_in_the_end(&service, "k").await;
    assert_eq!(balance(&service, 2).await, 1_001);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_two_clusters_are_refused_and_later_the_stranger_is_passed_over() {
    let work = work();
    let (mut primary, standby) = pair(&work).await;
    let (stranger, _) = pair(&work).await;
    for servers in [[&primary, &stranger], [&stranger, &primary], [&stranger, &standby]] {
        for command in ["serve", "migrate", "audit", "prune"] {
            assert_refused(&work, &listing(&servers), command, &["of different clusters"]);
        }
    }

    let settings = listing(&[&primary, &stranger, &standby]);
    let mut stranger = stranger;
    stranger.kill().unwrap();
    let service = service_with_accounts(&work, &settings).await;
    standby.until("SELECT balance = 1000 FROM accounts WHERE id = 2").await.unwrap();
    stranger.start().await.unwrap();
    primary.kill().unwrap();
    assert_eq!(pay(&service, "k").await, 503, "the stranger takes writes");
    standby.promote().unwrap();
    pay_in_the_end(&service, "k").await;
    assert_eq!(balance(&service, 2).await, 1_001);
    let log = service.log().unwrap();
    assert!(log.contains("it is of another cluster"), "{log}");
}
